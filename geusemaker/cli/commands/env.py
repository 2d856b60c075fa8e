"""``geusemaker env``: the variables with which plain ``pulumi`` works on a deployment."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = (
    'eval "$(geusemaker env prod)" && pulumi -C ~/.geusemaker stack --stack prod',
    "geusemaker env prod --output json",
)


def env(name: options.Name = None, output: options.Output = "text") -> None:
    """Print the variables with which plain pulumi works on a deployment."""
    with session("env", output, name=name) as current:
        import shlex

        from geusemaker.cli.output.text import line

        deployment = current.open_deployment(name, quiet=True)
        environment = deployment.environment()
        lines = [line(f"export {key}={shlex.quote(value)}") for key, value in sorted(environment.items())]
        current.answer({"deployment": deployment.name, "environment": environment}, lines)
