"""n8n's environment: what of it geusemaker sets, what of an operator's decides how n8n runs, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from geusemaker.catalog.rules import Beside
from geusemaker.models.image import ImageReference

_TRUE: Final = frozenset({"true", "1"})  # @n8n/config, decorators: everything else is no

_MODE: Final = "EXECUTIONS_MODE"
_REDIS: Final = "QUEUE_BULL_REDIS_HOST"
_BINARY_DATA: Final = "N8N_DEFAULT_BINARY_DATA_MODE"
_RUNNERS_MODE: Final = "N8N_RUNNERS_MODE"
_RUNNERS: Final = "n8nio/runners"

ENVIRONMENT: Final = {
    "DB_TYPE": "postgresdb",
    "DB_POSTGRESDB_HOST": "postgresql",
    "DB_POSTGRESDB_PORT": "5432",
    "DB_POSTGRESDB_DATABASE": "n8n",
    "DB_POSTGRESDB_USER": "geusemaker",
    "N8N_PORT": "5678",
}
REHEARSED: Final = {
    "EXECUTIONS_MODE": "regular",  # Redis is not in a rehearsal, and without it n8n would end
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
}
"""What is another thing where nothing leads outside."""

SECRETS: Final = {"DB_POSTGRESDB_PASSWORD": "postgresql_password", "N8N_ENCRYPTION_KEY": "n8n_encryption_key"}
"""Variable → the secret that it gets."""

READ: Final = frozenset(
    {
        _MODE,
        _REDIS,
        _RUNNERS_MODE,
        _BINARY_DATA,
        "GENERIC_TIMEZONE",
        "N8N_DISABLE_UI",
        "N8N_ENDPOINT_REST",
        "N8N_PATH",
        "TZ",
    }
)
"""What is read here."""


def misfits(image: ImageReference, environment: Mapping[str, str], beside: Mapping[str, Beside]) -> list[str]:
    """What needs a part of n8n that does not run here, one sentence each."""
    found = _queue_misfits(image, environment, beside) if _is(environment, _MODE, "queue") else []
    if _is(environment, _RUNNERS_MODE, "external") and not any(_RUNNERS in one.image.path for one in beside.values()):
        found.append(
            f"n8n.{_RUNNERS_MODE}=external needs a container of runners, and no Code node would run without it; "
            f"take it out with --env n8n.{_RUNNERS_MODE}="
        )
    return found


def _is(environment: Mapping[str, str], key: str, value: str) -> bool:
    return environment.get(key, "").strip().lower() == value


def _queue_misfits(image: ImageReference, environment: Mapping[str, str], beside: Mapping[str, Beside]) -> list[str]:
    """What keeps workflows from running where n8n only queues them.

    Redis and workers are services of the operator's own, or a Redis elsewhere, whose name has a dot. A worker is n8n's
    image with the command `worker`: docs.n8n.io/hosting/scaling/queue-mode.
    """
    redis = environment.get(_REDIS, "").strip()
    workers = {name: one for name, one in beside.items() if "worker" in one.command}
    if not workers or (redis not in beside and "." not in redis):
        missing = [
            *([] if redis in beside or "." in redis else [f"a service that n8n.{_REDIS} names"]),
            *([] if workers else ["one with n8n's image and the command worker"]),
        ]
        return [
            f"n8n.{_MODE}=queue needs Redis and workers, and no workflow would run without them (there is not "
            f"{' nor '.join(missing)}); take it out with --env n8n.{_MODE}="
        ]
    found = []
    if _is(environment, _BINARY_DATA, "filesystem"):
        found.append(
            f"n8n.{_BINARY_DATA}=filesystem keeps files where n8n's workers do not see them; take it out "
            f"with --env n8n.{_BINARY_DATA}="
        )
    shared = {key: value for key, value in ENVIRONMENT.items() if key != "N8N_PORT"} | {_REDIS: redis}
    for name, worker in workers.items():
        if worker.image.release != image.release:  # docs.n8n.io: all of one version
            found.append(
                f"{name} runs {worker.image.tagged} and n8n {image.tagged}: a worker has to be of the same release "
                f"(--image {name}={image.tagged})"
            )
        for key, value in shared.items():
            if worker.environment.get(key, "").strip() != value:
                found.append(f"{name}.{key} has to be {value}, as n8n has it")
        for key, secret in SECRETS.items():
            if worker.secrets.get(key) != secret:
                found.append(f"{name}.{key} has to be the generated secret {secret}, as n8n's is")
    return found


def login(environment: Mapping[str, str]) -> dict[str, str]:
    """A login that nobody has: HTTP 401 where n8n works, 500 where a column of its users is not there any more.

    Seen with 1.100.1 on the data of 1.123.5 and of 2.41.1, which is ready all the same. Releases before 1.82 name the
    address ``email``.
    """
    rest = environment.get("N8N_ENDPOINT_REST", "").strip("/") or "rest"
    nobody = "rehearsal@example.com"
    body = {"emailOrLdapLoginId": nobody, "email": nobody, "password": "rehearsal"}
    return {"method": "POST", "path": f"/{quote(rest, safe='/')}/login", "body": json.dumps(body)}


def needs_also(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Without its Redis n8n ends ten seconds after its start when it only queues workflows."""
    return (environment.get(_REDIS, "").strip(),) if _is(environment, _MODE, "queue") else ()


def readiness_also(environment: Mapping[str, str]) -> dict[str, Any]:
    """Where n8n's own pages get their settings from; one of these has to answer, unless it has no pages.

    1.x and 2.0 say that they are ready 1 to 4 s before they have it. n8n's routes know N8N_ENDPOINT_REST alone
    (packages/cli/src/server.ts, 1.100 and 2.41); N8N_PATH is asked as well, for whoever answers below it.
    """
    if environment.get("N8N_DISABLE_UI", "").strip().lower() in _TRUE:
        return {}
    rest = environment.get("N8N_ENDPOINT_REST", "").strip("/") or "rest"
    base = environment.get("N8N_PATH", "").strip("/")
    paths = [f"/{rest}/settings", *([f"/{base}/{rest}/settings"] if base else [])]
    return {"also": [quote(path, safe="/%:@!$&'()*+,;=~-._") for path in paths]}


def domain_environment(url: str) -> dict[str, str]:
    """docs.n8n.io/hosting/configuration/configuration-examples/webhook-url. 2.x has another name for the second."""
    return {
        "N8N_EDITOR_BASE_URL": url,
        "WEBHOOK_URL": url,
        "N8N_WEBHOOK_URL": url,
        "N8N_PROXY_HOPS": "1",
        "N8N_SECURE_COOKIE": "true",
    }


def domain_misfits(environment: Mapping[str, str]) -> list[str]:
    """What does not work under a domain, one sentence each."""
    found = []
    if environment.get("N8N_DISABLE_UI", "").strip().lower() in _TRUE:
        found.append("without its pages (n8n.N8N_DISABLE_UI) n8n does not tell whether it has an owner")
    if environment.get("N8N_PATH", "/").strip("/"):
        found.append("n8n.N8N_PATH needs a proxy that takes the path away, which this one does not")
    return found
