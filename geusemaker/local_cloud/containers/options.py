"""Command-line options in the manner of Docker's (github.com/spf13/pflag)."""

from __future__ import annotations

from typing import Any


class UsageError(Exception):
    """The command line cannot be understood."""


def parse(
    argv: list[str], flags: dict[str, str], command: str, *, interspersed: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """Split a command line into options and arguments.

    Args:
        flags: spelling (``--tail``, ``-n``) → ``name`` for a switch, ``name=`` for one value, ``name[]`` for a list.
        interspersed: whether options may follow the first argument.

    Raises:
        UsageError: unknown flag, or a value is missing.
    """
    values: dict[str, Any] = {}
    arguments: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if not interspersed:
                arguments += rest
                break
            continue
        flag, equals, value = word.partition("=")
        if not word.startswith("--") and flag not in flags and len(word) > 2:
            # -aq is -a -q, and -n5 is -n 5
            first = word[:2]
            if first in flags and flags[first][-1] not in "=]":
                rest.insert(0, "-" + word[2:])
                flag, equals, value = first, "", ""
            elif first in flags:
                flag, equals, value = first, "=", word[2:]
        if flag not in flags:
            kind = f"flag: {flag}" if flag.startswith("--") else f"shorthand flag: '{flag[1]}' in {word}"
            raise UsageError(f"unknown {kind}\nSee '{command} --help'.")
        target = flags[flag]
        if target[-1] not in "=]":
            values[target] = value != "false" if equals else True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"flag needs an argument: {flag}\nSee '{command} --help'.")
            value = rest.pop(0)
        if target.endswith("[]"):
            values.setdefault(target[:-2], []).append(value)
        else:
            values[target[:-1]] = value
    return values, arguments
