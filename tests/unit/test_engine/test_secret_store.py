"""A stack's encrypted secrets: which key they are of, and where else they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from geusemaker.engine.secret_store import is_outdated, needs_passphrase, rotation_in, secrets_in
from geusemaker.models.secrets import OwnSecret
from geusemaker.models.stack import Secrets
from geusemaker.program.compose import secret_environment
from geusemaker.program.instance import user_data
from geusemaker.services.secrets import generate
from tests.unit import samples

SECRETS = Secrets(
    ssh_private_key="-----BEGIN\nssh\n-----END\n",
    host_private_key="-----BEGIN\nhost\n-----END\n",
    postgresql_password="pg",
    n8n_encryption_key="n8n",
    crawl4ai_token="token",
    qdrant_key="key",
)
SIG = "4dabf18193072939515e22adb298388d"


def secret(value: Any) -> dict[str, str]:
    return {SIG: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def exported(
    secrets: Secrets = SECRETS, wrapped: bool = True, crawl4ai: bool = True, qdrant: bool = True
) -> dict[str, Any]:
    """A state as ``stack export --show-secrets`` prints it."""
    services = dict(samples.config().services)
    if crawl4ai:
        services["crawl4ai"] = services["n8n"]
    if not qdrant:
        services.pop("qdrant", None)
    elif "qdrant" not in services:
        services["qdrant"] = services["n8n"].model_copy(update={"environment": {}})
    wrap = secret if wrapped else lambda value: value
    connection = {"host": "127.0.0.1", "privateKey": secrets.ssh_private_key}
    stdin = json.dumps({"environment": secret_environment(samples.config(services=services), secrets)})
    prefix = "urn:pulumi:prod::geusemaker::"
    return {
        "deployment": {
            "secrets_providers": {"type": "passphrase", "state": {"salt": "v1:a"}},
            "resources": [
                {"urn": f"{prefix}pulumi:pulumi:Stack::geusemaker-prod", "type": "pulumi:pulumi:Stack"},
                {
                    "urn": f"{prefix}aws:ec2/instance:Instance::instance",
                    "type": "aws:ec2/instance:Instance",
                    "inputs": {"userData": wrap(user_data(secrets, samples.target()))},
                },
                {
                    "urn": f"{prefix}command:remote:Command::apply",
                    "type": "command:remote:Command",
                    "inputs": {"connection": wrap(connection), "stdin": wrap(stdin)},
                },
                {
                    "urn": f"{prefix}command:remote:Command::mount",
                    "type": "command:remote:Command",
                    "inputs": {"connection": wrap(connection), "stdin": "no document"},
                },
            ],
        }
    }


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_state_holds_all_secrets_of_what_it_made(wrapped: bool) -> None:
    assert secrets_in(exported(wrapped=wrapped)) == SECRETS


def test_the_operators_own_come_from_what_the_program_puts_out() -> None:
    before = OwnSecret(value="of before")
    own = {"smtp": OwnSecret(value="of today", set_by="ann", before=before), "unused": OwnSecret(value="of nobody")}
    state = exported()
    [stack] = [one for one in state["deployment"]["resources"] if one["type"] == "pulumi:pulumi:Stack"]
    stack["outputs"] = {"own_secrets": secret(json.dumps({name: one.plain() for name, one in own.items()}))}
    assert secrets_in(state) == SECRETS.model_copy(update={"own": own})


def test_a_token_of_a_service_that_does_not_run_is_made_anew() -> None:
    found = secrets_in(exported(crawl4ai=False))
    assert found is not None and found.crawl4ai_token not in ("", "token")
    assert found.model_copy(update={"crawl4ai_token": "token"}) == SECRETS


def test_a_key_that_no_data_is_closed_with_is_made_anew_where_nothing_runs_that_has_it() -> None:
    found = secrets_in(exported(qdrant=False))
    assert found is not None and found.qdrant_key not in ("", "key")
    assert found.model_copy(update={"qdrant_key": "key"}) == SECRETS


def test_the_state_tells_which_rotation_its_secrets_are_of() -> None:
    state = exported()
    assert rotation_in(state) == "" == rotation_in({"deployment": None})
    state["deployment"]["resources"][0]["outputs"] = {"rotation": "op-5"}
    assert rotation_in(state) == "op-5"
    rotated = user_data(generate(), samples.target(), rotated=True)
    state["deployment"]["resources"][1]["inputs"]["userData"] = rotated
    found = secrets_in(state)
    assert found is not None and found.host_private_key.strip() in rotated.replace("    ", "")


def test_without_one_of_them_there_are_none() -> None:
    for number in (1, 2):
        state = exported()
        del state["deployment"]["resources"][number]
        assert secrets_in(state) is None
    assert secrets_in({"deployment": None}) is None
    damaged = exported()
    damaged["deployment"]["resources"][2]["inputs"]["stdin"] = secret("[]")
    assert secrets_in(damaged) is None


@pytest.mark.parametrize(
    ("document", "outdated"),
    [
        ({"encryptionsalt": "v1:a"}, False),
        ({"encryptionsalt": "v1:b"}, True),
        ({"secretsprovider": "awskms://x", "encryptedkey": "k"}, True),
        ({}, False),
    ],
)
def test_a_config_of_another_key_is_outdated(document: dict[str, str], outdated: bool) -> None:
    assert is_outdated(document, exported()) is outdated


def test_a_state_of_nothing_is_of_no_key() -> None:
    assert not is_outdated({"encryptionsalt": "v1:b"}, {"deployment": None})
    cloud = {
        "deployment": {"secrets_providers": {"type": "cloud", "state": {"url": "awskms://x", "encryptedkey": "k"}}}
    }
    assert not is_outdated({"secretsprovider": "awskms://x", "encryptedkey": "k"}, cloud)
    assert is_outdated({"secretsprovider": "awskms://x", "encryptedkey": "old"}, cloud)


@pytest.mark.parametrize(
    ("provider", "needed"),
    [
        (None, True),
        ({"type": "passphrase", "state": {"salt": "v1:x"}}, True),
        ({"type": "cloud", "state": {"url": "awskms://x", "encryptedkey": "k"}}, False),
        ({"type": "service"}, False),
    ],
)
def test_who_needs_a_passphrase(provider: dict[str, object] | None, needed: bool) -> None:
    assert needs_passphrase({"deployment": {"secrets_providers": provider}}) is needed
    assert needs_passphrase({"deployment": None}) is True
