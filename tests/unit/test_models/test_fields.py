"""Each field of a config is told wherever configs are told: in the differences, in the history, on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from geusemaker.cli.app import app
from geusemaker.cli.output.changes import config_changes as changes_in_history
from geusemaker.models.base import Model
from geusemaker.models.fields import Told, told
from geusemaker.models.request import ChangeOptions, ConfigRequest
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.services.configure import changed_config
from geusemaker.services.differences import config_changes, same_system
from tests.unit.samples import config

Path = tuple[str, ...]

OTHERS: dict[str, Any] = {
    "instance_type": "g5.xlarge",
    "purchase": "spot",
    "rollback.on_interruption": "on-demand",
    "rollback.bake_seconds": 1,
    "ami": "ami-2",
    "services.n8n.image": "n8nio/n8n:9",
    "services.n8n.environment": {"A": "b"},
    "services.n8n.secret_environment": {"A": "smtp"},
    "services.n8n.own": {"memory_share": 2},
    "instance.architecture": "arm64",
    "rendering": 1,
    "image_login": "ubuntu",
}
"""Another value of each field whose type does not tell one."""
CHANGES = {
    "instance_type": "instance_type: t3.large -> g5.xlarge",
    "purchase": "purchase: on-demand -> spot",
    "ami": "ami: ami-1 -> ami-2",
    "services.n8n.image": "n8n.image: n8nio/n8n:1.100.1@sha256:abababababab -> n8nio/n8n:9",
    "services.n8n.environment": "n8n.env.A: (none) -> b",
    "services.n8n.secret_environment": "n8n.secret_env.A: (none) -> (secret smtp)",
    "services.n8n.own": "n8n.memory_share: (none) -> 2",
    "health.deadline_seconds": "settings.health_deadline_seconds: 180 -> 181",
    "health.consecutive_successes": "settings.consecutive_successes: 2 -> 3",
    "rollback.auto_rollback_on_failure": "settings.auto_rollback_on_failure: true -> false",
    "rollback.deadline_minutes": "settings.deadline_minutes: 15 -> 16",
    "rollback.retention": "settings.retention: 5 -> 6",
    "rollback.on_interruption": "settings.on_interruption: wait -> on-demand",
    "rollback.bake_seconds": "settings.bake_seconds: 0 -> 1",
    "rendering": "rendering: 3 -> 1",
}
"""How each is told in a plan, in results and in records: scripts read these paths."""
NOT_SHOWN = {
    "schema_version", "image_login", "root_volume_gib", "instance.memory_mib", "instance.gpus",
    "instance.gpu_memory_mib",
    "instance.architecture",
}  # fmt: skip
NOT_ASKED = {*NOT_SHOWN, "rendering", "health.consecutive_successes", "services.n8n.own"} - {
    "root_volume_gib",
    "image_login",
}


def fields_of(model: type[Model], path: Path = (), above: Told | None = None) -> Iterator[tuple[str, FieldInfo, Told]]:
    """(where it stands, the field, how it is told: as what it stands in, where that says that it is not)"""
    for name, field in model.model_fields.items():
        declared = told(field.metadata)
        if above is not None and (above.not_shown or not above.system):
            declared = above if declared.option is None else declared
        if name == "services":
            yield from fields_of(ServiceConfig, (name, "n8n"))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Model):
            yield from fields_of(field.annotation, (*path, name), declared)
        else:
            yield ".".join((*path, name)), field, declared


FIELDS = {path: (field, declared) for path, field, declared in fields_of(StackConfig)}


def with_other(path: str) -> StackConfig:
    """The sample config with another value of one field."""
    document = config().to_json()
    *way, last = path.split(".")
    place = document
    for part in way:
        place = place[part]
    before = place.get(last)
    if path in OTHERS:
        place[last] = OTHERS[path]
    elif isinstance(before, bool):
        place[last] = not before
    elif isinstance(before, int):
        place[last] = before + 1
    else:
        raise AssertionError(f"say in OTHERS what another value of {path} is")
    return StackConfig.model_validate(document)


@pytest.mark.parametrize("path", sorted(FIELDS.keys() - {"schema_version"}))  # which has but one value
def test_a_change_of_each_field_is_told_or_is_declared_not_to_be(path: str) -> None:
    old, new = config(), with_other(path)
    changes = [str(change) for change in config_changes(old, new)]
    assert changes == ([] if path in NOT_SHOWN else [CHANGES[path]])
    assert bool(changes_in_history(old, new)) == (path not in NOT_SHOWN)
    settings = path.startswith(("health.", "rollback."))
    assert same_system(old, new) == (path in NOT_SHOWN or settings)


def test_what_is_not_shown_says_why() -> None:
    assert {path for path, (_, declared) in FIELDS.items() if declared.not_shown} == NOT_SHOWN


class LaterConfig(StackConfig):
    """A config with a field that nobody declared how to tell."""

    timezone: str = "UTC"


def test_a_field_that_was_forgotten_is_told_by_its_own_name() -> None:
    old = LaterConfig.model_validate(config().to_json())
    new = old.model_copy(update={"timezone": "Europe/Berlin"})
    assert [str(change) for change in config_changes(old, new)] == ["timezone: UTC -> Europe/Berlin"]
    assert changes_in_history(old, new) == ["UTC → Europe/Berlin"]
    assert not same_system(old, new)


@pytest.mark.parametrize("verb", ["deploy", "update"])
def test_each_field_can_be_asked_for_on_the_command_line(verb: str) -> None:
    commands: Any = typer.main.get_command(app)
    shown = {
        flag: option for option in commands.commands[verb].params for flag in (*option.opts, *option.secondary_opts)
    }
    for path, (field, declared) in FIELDS.items():
        if path in NOT_ASKED:
            assert declared.option is None, path
            continue
        option = declared.option
        assert option is not None, f"say with which option {path} is asked for"
        assert all(shown[flag].help == option.help for flag in option.flags.split("/"))
        for bound in field.metadata:
            if isinstance(bound, Ge | Le) and re.search(r"\d+ to \d+", option.help):
                number = bound.ge if isinstance(bound, Ge) else bound.le
                assert re.search(rf"\b{number}\b", option.help), f"{option.flags} is {bound}"
        if "default" in option.help and isinstance(field.default, int):
            assert f"default {field.default}" in option.help


@pytest.mark.parametrize("path", [path for path, (_, declared) in FIELDS.items() if declared.option])
def test_what_is_asked_for_comes_into_the_config(path: str) -> None:
    _, declared = FIELDS[path]
    assert declared.option is not None
    if not declared.option.request:
        return  # images, variables and the AMI are worked out; each has tests of its own
    new = with_other(path)
    value: Any = new
    for part in path.split("."):
        value = getattr(value, part)
    asked = ConfigRequest.model_validate({declared.option.request: value})
    changed = changed_config(asked, config())
    assert [str(change) for change in config_changes(config(), changed)] == [CHANGES[path]]


def test_a_request_asks_for_fields_of_a_config_and_for_what_no_config_holds() -> None:
    asked = {declared.option.request for _, declared in FIELDS.values() if declared.option and declared.option.request}
    others = {
        "images",
        "services",
        "without",
        "environment",
        "secret_environment",
        "secret_values",
        "own_services",
        "ami",
        "ssh_user",
        "rendering",  # whether to take the newest
        "root_volume_gib",
        "data_volume_gib",
        "models_on",
        "settle_seconds",
        *("ssh_cidrs", "connect"),
        *("tags", "labels", "permissions_boundary"),
        "domains",
        "no_domain",
        *("desired", "prune", "again"),  # a whole config, as a file has it
    }
    assert ConfigRequest.model_fields.keys() - ChangeOptions.model_fields.keys() == asked | others
