"""The ``geusemaker`` command: its verbs, its global options and its exit codes.

0    done
1    error, nothing changed
2    usage, an invalid value included
3    the change failed; the previous version is restored and healthy
4    the change failed and is not restored; a person is needed
5    refused by validation or the plan guard
6    another operation holds the deployment
7    `status` looked, and the deployment is not healthy; `diff -f`: the file is not what runs
8    `status` could not judge it: it cannot be reached, or cannot be read
130  interrupted
255  `ssh` and `exec` only: the instance could not be reached; their other codes are the command's
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer

from geusemaker.cli import ctrl_c
from geusemaker.cli.commands import (
    backup,
    checkpoints,
    deploy,
    destroy,
    diff,
    doctor,
    env,
    exec,
    export,
    help,
    history,
    info,
    inspect,
    list,
    local,
    logs,
    mark,
    open,
    pin,
    recover,
    rehearse,
    rest,
    restore,
    rollback,
    secrets,
    ssh,
    status,
    tunnel,
    update,
    version,
)
from geusemaker.cli.help import SEPARATOR, PassingCommand, PlainGroup, VerbCommand, epilog
from geusemaker.cli.session import DEBUG, OutputMode, Session
from geusemaker.cli.words import as_known_error
from geusemaker.errors import GeusemakerError, InvalidInputError

# The exceptions of usage errors are public by their subclasses only, and from which package depends on the version.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_CHANGE = "Change"
_LOOK = "Look"
_REACH = "Reach"
_DATA = "Data"
_KEEP = "Keep running"
_SET_UP = "Set up"

_NEEDED = (
    *("deploy", "status", "open", "update", "rollback", "history"),
    *("diff", "logs", "recover", "backup", "restore", "destroy"),
)
"""What a call without a verb shows of all of them."""


class VerbGroup(PlainGroup):
    """All verbs. Turns usage errors and interrupts into the documented exit codes, and into a document if asked."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit. ``--debug`` may stand anywhere, since errors ask to add it."""
        arguments = [*(sys.argv[1:] if args is None else args)]
        at = arguments.index(SEPARATOR) if SEPARATOR in arguments else len(arguments)
        ours, handed_on = arguments[:at], arguments[at:]  # what stands after -- is no option of ours
        token = DEBUG.set("--debug" in ours)
        ours = [argument for argument in ours if argument != "--debug"]
        arguments = [*ours, *handed_on]
        try:
            code = super().main(arguments, prog_name or "geusemaker", complete_var, standalone_mode=False, **extra)
        except (_UsageError, KeyboardInterrupt, typer.Abort) as error:
            code = _report(error, ours)
        finally:
            DEBUG.reset(token)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=VerbGroup,
    name="geusemaker",
    help="An AI stack on one EC2 instance, its data on EFS. Any version that ran healthy is one command away.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=epilog(("geusemaker deploy demo", "geusemaker rollback demo --to-version 2")),
)


def _version(wanted: bool) -> None:
    if wanted:
        version.show_version()
        raise typer.Exit


@app.callback()
def _global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """What holds for every verb; ``VerbGroup.main`` has looked at ``--debug`` already."""


def _add(
    name: str, verb: Callable[..., None], examples: Sequence[str], panel: str, kind: type[VerbCommand] = VerbCommand
) -> None:
    app.command(name, cls=kind, epilog=epilog(examples), rich_help_panel=panel)(verb)


_add("deploy", deploy.deploy, deploy.EXAMPLES, _CHANGE)
_add("update", update.update, update.EXAMPLES, _CHANGE)
_add("rollback", rollback.rollback, rollback.EXAMPLES, _CHANGE)
_add("destroy", destroy.destroy, destroy.EXAMPLES, _CHANGE)
_add("rehearse", rehearse.rehearse, rehearse.EXAMPLES, _CHANGE)
_add("status", status.status, status.EXAMPLES, _LOOK)
_add("inspect", inspect.inspect, inspect.EXAMPLES, _LOOK)
_add("history", history.history, history.EXAMPLES, _LOOK)
_add("export", export.export, export.EXAMPLES, _LOOK)
_add("diff", diff.diff, diff.EXAMPLES, _LOOK)
_add("list", list.list_deployments, list.EXAMPLES, _LOOK)
_add("open", open.open_service, open.EXAMPLES, _REACH)
_add("tunnel", tunnel.tunnel, tunnel.EXAMPLES, _REACH)
_add("logs", logs.logs, logs.EXAMPLES, _REACH)
_add("info", info.info, info.EXAMPLES, _REACH)
_add("ssh", ssh.ssh, ssh.EXAMPLES, _REACH, PassingCommand)
_add("exec", exec.exec_in_service, exec.EXAMPLES, _REACH, PassingCommand)
_add("backup", backup.backup, backup.EXAMPLES, _DATA)
_add("restore", restore.restore, restore.EXAMPLES, _DATA)
_add("checkpoints", checkpoints.checkpoints, checkpoints.EXAMPLES, _DATA)
_add("recover", recover.recover, recover.EXAMPLES, _KEEP)
_add("stop", rest.stop, rest.STOP_EXAMPLES, _KEEP)
_add("start", rest.start, rest.START_EXAMPLES, _KEEP)
_add("mark", mark.mark, mark.EXAMPLES, _KEEP)
_add("pin", pin.pin, pin.EXAMPLES, _KEEP)
_add("unpin", pin.unpin, pin.UNPIN_EXAMPLES, _KEEP)
_add("env", env.env, env.EXAMPLES, _SET_UP)
_add("doctor", doctor.doctor, doctor.EXAMPLES, _SET_UP)
_add("help", help.show_help, help.EXAMPLES, _SET_UP)
_add("version", version.show_version, version.EXAMPLES, _SET_UP)

_local = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The local cloud: start, status, stop, reset.",
)
local.add_to(_local)
app.add_typer(_local, name="local", rich_help_panel=_SET_UP)


_secrets = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Secrets, and what they are encrypted with: list, show, set, import, rotate, rotate-passphrase.",
)
secrets.add_to(_secrets)
app.add_typer(_secrets, name="secrets", rich_help_panel=_KEEP)


_VERBS = {command.name for command in app.registered_commands} | {"local", "secrets"}


def main() -> NoReturn:
    """The entry point. A polite request to end (SIGTERM, SIGHUP) is handled as Ctrl-C is."""
    ctrl_c.listen()
    sys.unraisablehook = _without_abandoned(sys.unraisablehook)
    _open_closed_streams()
    _tidy_seldom()
    try:
        app()
    except SystemExit as end:
        ctrl_c.end_when_told_again(end.code if isinstance(end.code, int) else 0)
        raise
    sys.exit(0)


def _open_closed_streams() -> None:
    """Have streams that were closed (``>&-``, some schedulers) lead nowhere.

    Python has none then, and the next file that is opened, whichever, would get their place.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))


def _tidy_seldom() -> None:
    """Look for unreachable objects seldom, and not at the end: a command lives shortly, and leaves next to none.

    By default Python looks at every object several times while a change's packages load (0.2 s), and takes them apart
    one by one at the end (half a second), before the operator has the prompt back.
    """
    gc.set_threshold(500_000)
    atexit.register(gc.freeze)


def _without_abandoned(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """A hook that is silent on what Pulumi's SDK abandons when a run fails: coroutines that complain when collected."""

    def on_unraisable(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        if code is None or f"{os.sep}pulumi{os.sep}" not in code.co_filename:
            hook(unraisable)

    return on_unraisable


def _report(error: BaseException, arguments: Sequence[str]) -> int:
    """Tell a usage error, by document too if one was asked for; returns the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        _show_needed(error)
        return 2
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    known: GeusemakerError
    if isinstance(error, _UsageError):
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        about = f" {verb}" if verb in _VERBS else ""
        known = InvalidInputError(message, next_step=f"`geusemaker{about} --help` shows what there is.", state="")
    else:
        known = as_known_error(KeyboardInterrupt())
    return Session(verb, _wanted(arguments), None, False, sys.stdout).fail(known)


def _show_needed(error: Any) -> None:
    """What there is of a group; of all verbs just those that one needs."""
    context = error.ctx
    if context.parent is not None:
        error.show()
        return
    import shutil

    formatter = context.make_formatter()
    formatter.width = max(min(shutil.get_terminal_size().columns, 80) - 2, 30)  # its own least is 50
    formatter.write_usage("geusemaker", "VERB [NAME] …")
    formatter.write_paragraph()
    commands = context.command.commands
    shown = [(name, commands[name].get_short_help_str(200)) for name in _NEEDED if name in commands]
    formatter.write_dl(shown)
    formatter.write("\n`geusemaker --help` shows all verbs,\n`geusemaker help VERB` one of them.\n")
    typer.echo(formatter.getvalue().rstrip("\n"), err=True)


def _wanted(arguments: Sequence[str]) -> OutputMode:
    """The form that was asked for, where the line could not be read as a whole."""
    modes: tuple[OutputMode, ...] = ("json", "markdown")
    for mode in modes:
        if f"--output={mode}" in arguments or f"-o{mode}" in arguments:
            return mode
        if any(pair in (("--output", mode), ("-o", mode)) for pair in pairwise(arguments)):
            return mode
    return "text"
