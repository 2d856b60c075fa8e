"""What runs on the instance, next to the data: one program, with nothing but itself and the standard library.

It is shipped as a bundle of all its sources (``host/bundle.py``), and run by ``__main__``, which tells its lines and
the rules that every change has to keep. Its rooms:

    __main__, document, output   the program, what it is given and what it says
    agent                        the instance as the verbs see it, made of machine, operations, mounts, docker
    store/                       what is kept on the file system beside the data: lease, sentinel, checkpoints …
    data/                        what each service holds, and how that is asked, copied, put back
    verbs/                       what it can be told to do, a function each
"""
