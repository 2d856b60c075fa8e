"""The options of a config's fields: declared once, and put into what `deploy` and `update` ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from geusemaker.cli import options


@dataclass(frozen=True)
class ConfigOptions:
    """What both verbs can be told of the config that is wanted."""

    file: options.StackFile = None
    instance_type: options.InstanceType = None
    purchase: options.Purchase = None
    without: options.Without = None
    image: options.Image = None
    env: options.Env = None
    secret_env: options.SecretEnv = None
    ami: options.Ami = None
    ssh_user: options.SshUser = None
    root_volume: options.RootVolume = None
    data_volume: options.DataVolume = None
    models_on: options.ModelsOn = None
    auto_rollback_on_failure: options.AutoRollbackSetting = None
    deadline: options.Deadline = None
    retention: options.Retention = None
    on_interruption: options.OnInterruption = None
    bake_seconds: options.BakeSetting = None
    health_deadline: options.HealthDeadline = None
    settle_seconds: options.SettleSeconds = None
    ssh_cidr: options.SshCidr = None
    connect: options.Connect = None
    tag: options.Tag = None
    label: options.Label = None
    permissions_boundary: options.PermissionsBoundary = None
    domain: options.Domain = None
    no_domain: options.NoDomain = False
    expose_known_hole: options.ExposeKnownHole = False
    prune: options.Prune = False
    again: options.Again = False

    def asked(self, *, yes: bool) -> dict[str, Any]:
        """The fields of a request that say so; ``yes``: nobody is asked.

        Raises:
            InvalidInputError: a value cannot be used.
        """
        from geusemaker.cli import requests, secret_values

        secret_environment, values = secret_values.parse_secret_environment(self.secret_env or ())
        return {
            "instance_type": self.instance_type,
            "purchase": self.purchase,
            "without": requests.parse_services(self.without or ()),
            "images": requests.parse_images(self.image or ()),
            "environment": requests.parse_environment(self.env or ()),
            "secret_environment": secret_environment,
            "secret_values": values,
            "ami": self.ami,
            "ssh_user": self.ssh_user,
            "root_volume_gib": self.root_volume,
            "data_volume_gib": self.data_volume,
            "models_on": self.models_on,
            "auto_rollback_on_failure": self.auto_rollback_on_failure,
            "deadline_minutes": self.deadline,
            "retention": self.retention,
            "on_interruption": self.on_interruption,
            "bake_setting_seconds": self.bake_seconds,
            "health_deadline_seconds": self.health_deadline,
            "settle_seconds": self.settle_seconds,
            "ssh_cidrs": tuple(self.ssh_cidr) if self.ssh_cidr else None,
            "connect": self.connect,
            "tags": requests.parse_pairs(self.tag or (), "tag"),
            "labels": requests.parse_pairs(self.label or (), "label"),
            "permissions_boundary": self.permissions_boundary,
            "domains": requests.parse_domains(self.domain or ()),
            "no_domain": self.no_domain,
            "expose_known_hole": self.expose_known_hole,
            "desired": requests.read_stack_file(self.file),
            # Where somebody is asked, the plan shows what goes, and the answer is enough.
            "prune": self.prune or (self.file is not None and not yes),
            "again": self.again,
        }


def with_config_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb each of these options where it takes all of them as ``config``; the command line asks for them so."""
    hints = get_type_hints(verb, include_extras=True) | get_type_hints(ConfigOptions, include_extras=True)
    shared = signature(ConfigOptions).parameters
    parameters: list[Parameter] = []
    for parameter in signature(verb).parameters.values():
        parameters += shared.values() if parameter.name == "config" else [parameter]

    @functools.wraps(verb)
    def told(**given: Any) -> None:
        config = ConfigOptions(**{name: given.pop(name) for name in shared})
        verb(**given, config=config)

    seen = [one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in parameters]
    vars(told).update(__signature__=Signature(seen))
    told.__annotations__ = {one.name: hints[one.name] for one in parameters}
    return told
