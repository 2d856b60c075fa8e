"""The verbs, one file each. They import nothing heavy before they run, so that ``--help`` stays quick."""
