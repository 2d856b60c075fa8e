"""Programs that an instance of the local cloud has in ``/usr/bin``.

Each file is a program of its own, standard library only, run as ``python -IS FILE``: they start in 30 ms.
The instance's root folder is in ``GEUSEMAKER_INSTANCE_ROOT``; paths in their arguments are the instance's own
(``/mnt/efs``), with or without that folder in front.
"""
