"""``geusemaker secrets``: other secrets, and what they are encrypted with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from geusemaker.cli import options
from geusemaker.cli.session import session
from geusemaker.errors import InvalidInputError

EXAMPLES: Final = {
    "rotate": ("geusemaker secrets rotate ssh prod", "geusemaker secrets rotate database prod --yes"),
    "rotate-passphrase": (
        "geusemaker secrets rotate-passphrase prod",
        "geusemaker secrets rotate-passphrase prod --passphrase-file /run/secrets/new",
    ),
}


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
                raise InvalidInputError(f"{passphrase_file} cannot be read.", state="Nothing was changed.") from error
        deployment = current.open_deployment(name)

        def confirm(text: str) -> bool:
            current.pause()
            return yes or current.ask(f"{text} Go on? [y/N] ").lower() in ("y", "yes")

        result = deployment.rotate_passphrase(passphrase, provider, confirm, current.on_event)
        current.answer(result.model_dump(mode="json"), render_rotation(result))


def rotate(
    secret: Annotated[
        Literal["ssh", "database"],
        typer.Argument(help="ssh: the key to log in with. database: PostgreSQL's password.", show_default=False),
    ],
    name: options.Name = None,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Change the SSH key or the database's password, say after a laptop was lost; no version changes."""
    with session("secrets rotate", output, name=name, yes=yes) as current:
        deployment = current.open_deployment(name)

        def confirm(text: str) -> bool:
            current.pause()
            return yes or current.ask(f"{text} Go on? [y/N] ").lower() in ("y", "yes")

        current.finish(deployment.rotate_secret(secret, confirm, current.on_event))


def add_to(app: typer.Typer) -> None:
    """Register the group's verbs."""
    from geusemaker.cli.help import VerbCommand, epilog

    verbs: dict[str, Any] = {"rotate": rotate, "rotate-passphrase": rotate_passphrase}
    for name, verb in verbs.items():
        app.command(name, cls=VerbCommand, epilog=epilog(EXAMPLES[name]))(verb)
