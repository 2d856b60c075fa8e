"""The local cloud: AWS's API, instances and a container engine on this machine, for ``--target local``."""
