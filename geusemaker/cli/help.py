"""Help texts: plain, grouped by what an option is for, with examples. (typer's rich help takes twice as long.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

# typer's own context and formatter types have no public name, hence Any in the overrides below.


SEPARATOR: Final = "--"
COMMAND: Final = "geusemaker.command"


class VerbCommand(TyperCommand):
    """A verb whose options are listed under their panels' titles."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the panels, then the rest."""
        panels: dict[str, list[tuple[str, str]]] = {}
        rest: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                panels.setdefault("Arguments", []).append((record[0].partition(" ")[0], record[1]))
            else:
                panel = getattr(param, "rich_help_panel", None)
                (panels.setdefault(panel, []) if panel else rest).append(record)
        for title, records in [*panels.items(), ("Options", rest)]:
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are."""
        write_examples(self.epilog, formatter)


class PassingCommand(VerbCommand):
    """A verb that hands on a command: what stands after ``--``, as it was typed (``ctx.meta[COMMAND]``)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words after ``--`` away, before anything in them is read as an option."""
        at = args.index(SEPARATOR) if SEPARATOR in args else len(args)
        ctx.meta[COMMAND] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The pieces of the usage line."""
        return [*super().collect_usage_pieces(ctx), "-- COMMAND…"]


class PlainGroup(TyperGroup):
    """A group whose verbs are listed under their panels' titles, each with its first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            title = panel if isinstance(panel, str) else "Commands"
            panels.setdefault(title, []).append((name, command.get_short_help_str(200)))
        for title, records in panels.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are."""
        write_examples(self.epilog, formatter)


def epilog(examples: Sequence[str]) -> str:
    """The examples below a verb's options, one a line."""
    return "\n".join(["Examples:", *(f"  {example}" for example in examples)])


def write_examples(text: str | None, formatter: Any) -> None:
    """Write an epilog unwrapped: an example is there to be copied."""
    if text:
        formatter.write(f"\n{text}\n")
