"""A container engine without containers: the ``docker`` command, its daemon, and processes that act as our images do.

``program.py`` runs them, with the standard library only: ``docker`` is ``cli``, ``dockerd`` is ``daemon``, and a
container's processes are ``services``.
"""
