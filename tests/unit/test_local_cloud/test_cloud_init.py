from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.cloud_init import authorized_keys, commands, host_keys

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\nc3No\n-----END OPENSSH PRIVATE KEY-----\n"


def test_commands_of_the_first_boot() -> None:
    assert commands("#cloud-config\nruncmd:\n  - [a, b c]\n  - echo hi\n") == [
        ["a", "b c"],
        ["/bin/sh", "-c", "echo hi"],
    ]
    assert commands("#cloud-config\nruncmd: 3\n") == commands("") == []


def test_host_keys_are_read_as_they_were_written() -> None:
    indented = "".join(f"    {line}\n" for line in KEY.splitlines())
    text = f"#cloud-config\nssh_keys:\n  ed25519_private: |\n{indented}  ed25519_public: ssh-ed25519 A\n"
    assert host_keys(text).private == {"ed25519": KEY}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\necho\n",
        "#cloud-config\n",
        "#cloud-config\nssh_keys: 3\n",
        "#cloud-config\nssh_keys: {\n",
        "#cloud-config\n- a\n",
        "ssh_keys:\n  ed25519_private: key\n",
        "#cloud-config\nssh_keys:\n  ed25519_private: [1]\n",
    ],
)
def test_user_data_without_usable_keys_gives_none(text: str) -> None:
    assert host_keys(text).private == {}


@given(st.dictionaries(st.sampled_from(["ed25519_private", "rsa_private", "rsa_public"]), st.text()))
def test_any_keys_come_through(keys: dict[str, str]) -> None:
    text = "#cloud-config\n" + yaml.safe_dump({"ssh_keys": keys})
    expected = {name.removesuffix("_private"): key for name, key in keys.items() if name.endswith("_private")}
    assert host_keys(text).private == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("", "pair\n"),
        ("#cloud-config\nssh_authorized_keys: [mine, hers]\n", "pair\nmine\nhers\n"),
        ("#cloud-config\nallow_public_ssh_keys: false\nssh_authorized_keys:\n  - mine\n", "mine\n"),
        ("#cloud-config\nallow_public_ssh_keys: false\n", ""),
        ("allow_public_ssh_keys: false\n", "pair\n"),
    ],
)
def test_who_may_log_in(document: str, expected: str) -> None:
    assert authorized_keys(document, "pair") == expected
