"""A container engine without containers: the ``docker`` command, its daemon, and processes that act as our images do.

The programs (``docker.py``, ``dockerd.py``, ``service.py``) run as files on an instance, with the standard
library only.
"""
