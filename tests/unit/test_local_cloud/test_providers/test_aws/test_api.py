"""Aws: what a call of an engine may still ask once the engine is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.providers.aws.api import Aws, Clients
from geusemaker.local_cloud.providers.server import ProviderError, gone_event


class Context:
    """A call's context; it ends with the call, or with the connection to the engine."""

    def __init__(self, *, ended: bool) -> None:
        self.ended = ended
        self.callbacks: list[Callable[[], None]] = []

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return not self.ended


def test_nothing_more_is_asked_of_aws_once_the_engine_is_gone() -> None:
    context: Any = Context(ended=False)
    clients = Clients("http://127.0.0.1:1", AccessKey("id", "secret"))
    aws = Aws(clients, "us-east-1", threading.Event(), gone_event(context))
    assert aws.ec2 is not None
    answers = iter([None, None])

    def check() -> None:
        next(answers)
        context.callbacks[0]()

    with pytest.raises(ProviderError, match="context canceled"):
        aws.wait_until(check, 60, AssertionError)
    with pytest.raises(ProviderError, match="context canceled"):
        aws.ec2.start_instances(InstanceIds=["i-1"])
    assert next(answers, "asked once") is None


def test_a_call_whose_engine_was_gone_before() -> None:
    assert gone_event(Context(ended=True)).is_set()  # type: ignore[arg-type]
