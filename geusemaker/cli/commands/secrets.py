"""``geusemaker secrets``: which there are, other values, and what they are encrypted with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.errors import InvalidInputError

EXAMPLES: Final = {
    "import": ("geusemaker secrets import prod", "geusemaker secrets import prod --from env:N8N_ENCRYPTION_KEY --yes"),
    "set": (
        "geusemaker secrets set prod smtp",
        "geusemaker secrets set prod n8n.SMTP_PASS --from env:SMTP_PASS --yes",
        "geusemaker secrets set prod smtp --delete",
    ),
    "list": ("geusemaker secrets list prod", "geusemaker secrets list prod --output json"),
    "show": ("geusemaker secrets show prod crawl4ai_token", "geusemaker secrets show prod n8n.SMTP_PASS --reveal"),
    "rotate": ("geusemaker secrets rotate ssh prod", "geusemaker secrets rotate database prod --yes"),
    "rotate-passphrase": (
        "geusemaker secrets rotate-passphrase prod",
        "geusemaker secrets rotate-passphrase prod --passphrase-file /run/secrets/new",
    ),
}

_NOTHING: Final = "Nothing was changed."

Named = Annotated[str, typer.Argument(metavar="[NAME]", help="The deployment; may be left out when there is just one.")]
Secret = Annotated[
    str | None, typer.Argument(metavar="SECRET", help="What `secrets list` calls it.", show_default=False)
]


def _named(name: str, secret: str | None) -> tuple[str | None, str]:
    """(the deployment, the secret) of one word or two."""
    return (None, name) if secret is None else (name, secret)


def list_secrets(name: options.Name = None, output: options.Output = "text") -> None:
    """Show which secrets there are, which variables have them, and since when; never a value."""
    with session("secrets list", output, name=name) as current:
        from geusemaker.cli.output.secrets import render_secrets

        found = current.open_deployment(name, quiet=True).secrets()
        current.answer(found.model_dump(mode="json"), render_secrets(found))


def show(
    name: Named,
    secret: Secret = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Write the value although the output is no terminal.")
    ] = False,
    output: options.Output = "text",
) -> None:
    """Write the value of one secret to a terminal; elsewhere only with --reveal."""
    deployment, wanted = _named(name, secret)
    with session("secrets show", output, name=deployment) as current:
        if not reveal and (output == "json" or not sys.stdout.isatty()):
            raise InvalidInputError(
                f"{wanted} is shown on a terminal only, and the output is none.",
                state="Nothing was looked at.",
                next_step="Add --reveal to write it all the same.",
            )
        opened = current.open_deployment(deployment, quiet=True)
        value = opened.secret(wanted).get_secret_value()
        if output == "json":
            current.answer({"deployment": opened.name, "name": wanted, "value": value}, [])
            return
        current.pause()
        sys.stdout.write(value if value.endswith("\n") else f"{value}\n")
        sys.stdout.flush()


def set_secret(
    name: Named,
    secret: Secret = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FROM",
            help="Where the value is: @FILE, - (standard input) or env:VARIABLE. Without it a terminal is asked, and "
            "else standard input is read.",
            show_default=False,
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it instead. Refused while a version that is kept has it.")
    ] = False,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Set the value of a secret; variables that have it get it by an update, which restarts their services alone."""
    deployment, wanted = _named(name, secret)
    with session("secrets set", output, name=deployment, yes=yes) as current:
        from geusemaker.cli.secret_values import read_value
        from geusemaker.models.request import ChangeOptions

        asked = ChangeOptions(reason=reason, dry_run=dry_run)
        if delete:
            if source is not None:
                raise InvalidInputError("--delete takes no value, so it goes without --from.", state=_NOTHING)
            opened = current.open_deployment(deployment, dry_run=dry_run, wait_lock=wait_lock)
            current.finish(opened.delete_secret(wanted, asked, current.agree_to, current.on_event))
            return
        forms = "Give it on a terminal, or with --from @FILE, --from - (standard input) or --from env:VARIABLE."
        value = read_value("-" if source is None else source, wanted, forms)
        # Whether there is something to ask is known when it is known whether anything has the secret.
        opened = current.open_deployment(deployment, dry_run=dry_run, asks=False, wait_lock=wait_lock)
        current.finish(opened.set_secret(wanted, value, asked, current.confirm, current.on_event))


def import_key(
    name: options.Name = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FROM",
            help="Where the key is: @FILE, - (standard input) or env:VARIABLE. Without it a terminal is asked, and "
            "else standard input is read.",
            show_default=False,
        ),
    ] = None,
    wait_lock: options.WaitLock = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Take over the encryption key of an n8n that you have already, while this one holds no credentials yet."""
    with session("secrets import", output, name=name, yes=yes) as current:
        from geusemaker.cli.secret_values import read_value

        deployment = current.open_deployment(name, wait_lock=wait_lock)
        forms = "Give it on a terminal, or with --from @FILE, --from - (standard input) or --from env:VARIABLE."
        key = read_value("-" if source is None else source, "n8n's encryption key", forms)
        current.finish(deployment.import_n8n_key(key, current.agree_to, current.on_event))


def rotate_passphrase(
    name: options.Name = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option("--passphrase-file", help="The new passphrase is in this file. Without it one is generated."),
    ] = None,
    provider: Annotated[
        str,
        typer.Option("--to", help="Encrypt with a cloud's key instead, as Pulumi writes it: awskms://alias/NAME."),
    ] = "passphrase",
    wait_lock: options.WaitLock = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Encrypt the secrets anew; no version changes, and nothing that runs is touched."""
    with session("secrets rotate-passphrase", output, name=name, yes=yes) as current:
        from geusemaker.cli.output.repair import render_rotation

        passphrase = None
        if passphrase_file is not None:
            try:
                passphrase = passphrase_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInputError(f"{passphrase_file} cannot be read.") from error
        deployment = current.open_deployment(name, wait_lock=wait_lock)

        result = deployment.rotate_passphrase(passphrase, provider, current.agree_to, current.on_event)
        current.answer(result.model_dump(mode="json"), render_rotation(result))


def rotate(
    secret: Annotated[
        Literal["ssh", "database"],
        typer.Argument(help="ssh: the key to log in with. database: PostgreSQL's password.", show_default=False),
    ],
    name: options.Name = None,
    wait_lock: options.WaitLock = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Change the SSH key or the database's password, say after a laptop was lost; no version changes."""
    with session("secrets rotate", output, name=name, yes=yes) as current:
        deployment = current.open_deployment(name, wait_lock=wait_lock)

        current.finish(deployment.rotate_secret(secret, current.agree_to, current.on_event))


def add_to(app: typer.Typer) -> None:
    """Register the group's verbs."""
    from geusemaker.cli.help import VerbCommand, epilog

    verbs: dict[str, Any] = {
        "list": list_secrets,
        "show": show,
        "set": set_secret,
        "import": import_key,
        "rotate": rotate,
        "rotate-passphrase": rotate_passphrase,
    }
    for name, verb in verbs.items():
        app.command(name, cls=VerbCommand, epilog=epilog(EXAMPLES[name]))(verb)
