"""Programs that an instance of the local cloud has in ``/usr/bin``.

``program.py`` runs them, with the standard library only: they start in 30 ms. The instance's root folder is in
``GEUSEMAKER_INSTANCE_ROOT``; paths in their arguments are the instance's own (``/mnt/efs``), with or without that
folder in front.
"""
