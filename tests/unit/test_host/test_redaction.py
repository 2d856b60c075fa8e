"""What is taken out of texts, on this machine and by the agent."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.output import secret_forms
from geusemaker.host.redaction import redaction
from geusemaker.models.secrets import OwnSecret
from geusemaker.models.stack import Secrets

SECRETS = Secrets(
    ssh_private_key="-----BEGIN KEY-----\nc2VjcmV0IGxpbmUgb25l\nc2VjcmV0IGxpbmUgdHdv\n-----END KEY-----\n",
    host_private_key="-----BEGIN KEY-----\naG9zdCBsaW5lIG9uZQaa\n-----END KEY-----\n",
    postgresql_password="pa$$word/+öé",
    n8n_encryption_key="key-of-n8n-123456",
    crawl4ai_token="token-token-token",
)


@given(
    secret=st.text(min_size=8, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
    urlsafe=st.booleans(),
)
def test_base64_of_a_secret_is_found_wherever_it_begins(
    secret: str, before: bytes, after: bytes, urlsafe: bool
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(before + secret.encode() + after).decode()
    found = [form for form in secret_forms(secret) if form in text]
    assert found, "no form of it stands there"
    whole = len(secret.encode()) * 8 // 6
    assert max(map(len, found)) >= whole - 2, "all of it but what its neighbours have a part in"


def test_each_form_of_each_secret_is_replaced_and_the_rest_stays() -> None:
    redact = redaction(SECRETS)
    header = base64.b64encode(f"user:{SECRETS.crawl4ai_token}".encode()).decode()
    document = {
        "logs": [f"password={SECRETS.postgresql_password}", f"Authorization: Basic {header}", "c2VjcmV0IGxpbmUgdHdv"],
        "reason": "postgres://postgres:pa%24%24word%2F%2B%C3%B6%C3%A9@db",
        "exit": 1,
    }
    shown = redact(document)
    text = json.dumps(shown, ensure_ascii=False)
    assert shown["exit"] == 1 and shown["reason"] == "postgres://postgres:***@db"
    for value in (SECRETS.postgresql_password, "dG9rZW4", "c2VjcmV0"):
        assert value not in text


def test_without_secrets_nothing_is_replaced() -> None:
    assert redaction(None)({"a": ["b"]}) == {"a": ["b"]}


@given(
    value=st.text(min_size=6, max_size=60, alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    former=st.text(min_size=6, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])),
    rounds=st.integers(0, 2),
    in_ascii=st.booleans(),
)
def test_an_operators_secret_is_replaced_as_json_has_it_as_well(
    value: str, former: str, rounds: int, in_ascii: bool
) -> None:
    """The engine tells of documents, and of documents in documents; what was a value before is no less a secret."""
    own = {"smtp": OwnSecret(value=value, before=OwnSecret(value=former))}
    redact = redaction(SECRETS.model_copy(update={"own": own}))
    for text in (value, former):
        for _ in range(rounds):
            text = json.dumps(text, ensure_ascii=in_ascii)[1:-1]
        shown = redact(f"\x01{text}\x02")
        assert text not in shown or shown == "\x01***\x02"
        assert redact({"environment": [text]}) == {"environment": ["***"]}


def test_lines_of_an_operators_secret_are_replaced_one_by_one() -> None:
    own = {"key": OwnSecret(value="first line\nsecond line")}
    redact = redaction(SECRETS.model_copy(update={"own": own}))
    assert redact("second line | first line") == "*** | ***"
