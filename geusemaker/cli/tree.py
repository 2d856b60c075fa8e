"""The command line as a tree of plain values: what completion needs of it, written down once for each release."""

from __future__ import annotations

from typing import Any


def command_tree() -> dict[str, Any]:
    """All verbs: ``help``, ``verbs`` (name → the same), ``options`` and ``arguments`` of each.

    ``takes`` is what an option's value is called in the help, and empty for a flag; ``arguments`` are such names, too.
    """
    import typer.main

    from geusemaker.cli.app import app

    return _node(typer.main.get_command(app))


def _node(command: Any) -> dict[str, Any]:
    options, arguments = [], []
    for param in command.params:
        if param.param_type_name == "argument":
            arguments.append({"takes": param.metavar or param.name.upper(), "values": _choices(param)})
        elif not getattr(param, "hidden", False):
            flag = bool(param.is_flag)
            takes = "" if flag else param.metavar or "TEXT"
            names = [*param.opts, *param.secondary_opts]
            options.append({"names": names, "takes": takes, "values": _choices(param), "help": param.help or ""})
    options.append({"names": ["--help"], "takes": "", "values": [], "help": "Show what there is."})
    verbs = getattr(command, "commands", {})
    return {
        "help": command.get_short_help_str(100),
        "verbs": {name: _node(verb) for name, verb in verbs.items()},
        "options": options,
        "arguments": arguments,
    }


def _choices(param: Any) -> list[str]:
    described = getattr(param, "type_descriptor", None) or param.type  # typer's own since 0.20, click's before
    return [str(choice) for choice in getattr(described, "choices", None) or ()]
