"""The command line: typer commands, one file a verb, over the library that ``import geusemaker`` gives."""
