"""Asks Terraform's real AWS provider what it would do: a plan over a state that it wrote itself."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Decision = Literal["replace", "update", "no-op"]

VARIABLE = "GEUSEMAKER_TERRAFORM_PROVIDER_AWS"
_PLACE = "*/hashicorp/aws/*/*/terraform-provider-aws*"
"""HOST/NAMESPACE/TYPE/VERSION/PLATFORM, as Terraform lays mirrors and its cache out."""


@dataclass(frozen=True)
class Terraform:
    """The program and the provider that it is to use."""

    program: Path
    provider: Path

    @classmethod
    def find(cls) -> Terraform | str:
        """Both, or what is missing and where it was looked for."""
        program = shutil.which("terraform")
        if program is None:
            return "there is no `terraform` on PATH"
        given = os.environ.get(VARIABLE)
        if given:
            provider = Path(given).expanduser()
            return cls(Path(program), provider) if provider.is_file() else f"{VARIABLE}={given} is not a file"
        places = list(_mirrors())
        found = [path for place in places for path in place.glob(_PLACE) if os.access(path, os.X_OK)]
        if not found:
            return (
                f"there is no terraform-provider-aws in {', '.join(map(str, places))}; name it by {VARIABLE} if it is "
                "elsewhere"
            )
        return cls(Path(program), max(found, key=_version))

    def decide(
        self,
        folder: Path,
        endpoint: str,
        base: Mapping[str, tuple[str, Mapping[str, Any]]],
        cases: Iterable[tuple[str, str, Mapping[str, Any]]],
    ) -> dict[str, Decision]:
        """What becomes of resources when their arguments change.

        Args:
            folder: an empty folder, for state and plan.
            endpoint: URL of the AWS API.
            base: name → type and arguments of a resource that is created.
            cases: (name, which of those, new arguments), each applied to a resource of its own, as that was created.
        """
        asked = list(cases)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}
        environment |= {
            "TF_CLI_CONFIG_FILE": str(folder / "terraformrc"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        # The provider is used from where it lies: no `terraform init`, which would look for it in the registry.
        overrides = f'dev_overrides {{\n    "hashicorp/aws" = {json.dumps(str(self.provider.parent))}\n  }}'
        (folder / "terraformrc").write_text(f"provider_installation {{\n  {overrides}\n  direct {{}}\n}}\n")

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [self.program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        _write(folder, endpoint, [(name, kind, arguments) for name, (kind, arguments) in base.items()])
        run("apply", "-auto-approve", "-no-color", "-parallelism=30")
        state = json.loads((folder / "terraform.tfstate").read_text())
        created = {resource["name"]: resource for resource in state["resources"]}
        state["resources"] = [{**copy.deepcopy(created[known]), "name": name} for name, known, _ in asked]
        (folder / "terraform.tfstate").write_text(json.dumps(state))
        _write(folder, endpoint, [(name, base[known][0], arguments) for name, known, arguments in asked])
        run("plan", "-refresh=false", "-no-color", "-parallelism=30", "-out=plan")
        changes = json.loads(run("show", "-json", "plan"))["resource_changes"]
        return {change["name"]: _decision(change["change"]["actions"]) for change in changes}


def _mirrors() -> Iterator[Path]:
    """Where Terraform looks for providers without the internet, and where a system's add-on packages lie."""
    home, environment = Path.home(), os.environ
    config = Path(environment.get("TF_CLI_CONFIG_FILE") or home / ".terraformrc").expanduser()
    if config.is_file():
        named = re.findall(r'^\s*(?:path|plugin_cache_dir)\s*=\s*"([^"]+)"', config.read_text(), re.MULTILINE)
        yield from (Path(os.path.expandvars(path)).expanduser() for path in named)
    if environment.get("TF_PLUGIN_CACHE_DIR"):
        yield Path(environment["TF_PLUGIN_CACHE_DIR"])
    yield home / ".terraform.d" / "plugins"
    yield home / ".terraform.d" / "plugin-cache"
    data = [environment.get("XDG_DATA_HOME") or str(home / ".local/share")]
    data += (environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    yield from (Path(folder) / "terraform" / "plugins" for folder in data)
    yield from sorted(Path("/opt").glob("*"))


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", path.parent.parent.name))


def _decision(actions: list[str]) -> Decision:
    known: dict[tuple[str, ...], Decision] = {
        ("no-op",): "no-op",
        ("update",): "update",
        ("delete", "create"): "replace",
    }
    return known[tuple(actions)]


def _write(folder: Path, endpoint: str, resources: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    provider = {
        "region": "us-east-1",
        "access_key": "test",
        "secret_key": "test",
        "skip_credentials_validation": True,
        "skip_metadata_api_check": True,
        "endpoints": dict.fromkeys(("ec2", "efs", "iam", "sts"), endpoint),
    }
    blocks: dict[str, dict[str, Any]] = {}
    for name, kind, arguments in resources:
        blocks.setdefault(kind, {})[name] = arguments
    document = {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "provider": {"aws": provider},
        "resource": blocks,
    }
    (folder / "main.tf.json").write_text(json.dumps(document, indent=1))
