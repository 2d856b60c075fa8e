"""Which services a rehearsal has, and what they are asked there."""

from __future__ import annotations

import json

from geusemaker.catalog import REHEARSED, SERVICES, n8n_environment


def test_those_are_rehearsed_whose_data_a_release_may_close_to_an_older_one() -> None:
    assert REHEARSED == ("postgresql", "n8n")
    assert all(set(SERVICES[name].needs) <= set(REHEARSED) for name in REHEARSED)
    assert SERVICES["n8n"].rehearsed == n8n_environment.REHEARSED, "nothing waits for a Redis that is not there"


def test_n8n_is_asked_for_a_login_that_nobody_has_where_its_api_is() -> None:
    asked = n8n_environment.login({})
    assert (asked["method"], asked["path"]) == ("POST", "/rest/login")
    assert json.loads(asked["body"])["emailOrLdapLoginId"] == "rehearsal@example.com"
    assert n8n_environment.login({"N8N_ENDPOINT_REST": "/api v1/"})["path"] == "/api%20v1/login"
