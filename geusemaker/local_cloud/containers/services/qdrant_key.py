"""Qdrant's API key: who does not send it gets 401, but for what tells that it lives (its src/actix/auth.rs)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.container import Container

_OPEN: Final = re.compile(r"/|/healthz|/livez.*|/readyz.*")
_REFUSAL: Final = "Must provide an API key or an Authorization bearer token"


def guarded(
    container: Container, routes: Sequence[tuple[str, str, http.Handler]]
) -> list[tuple[str, str, http.Handler]]:
    """The routes for those who send the container's key; for everybody where it has none."""
    # Its config crate compares the names of variables in small letters.
    given = {name.upper(): value for name, value in container.environment.items()}
    key = given.get("QDRANT__SERVICE__API_KEY", "")
    return [(method, path, _asking(key, handler)) for method, path, handler in routes]


def _asking(key: str, handler: http.Handler) -> http.Handler:
    def answer(request: http.Request) -> Any:
        sent = request.headers.get("api-key"), request.headers.get("authorization", "").removeprefix("Bearer ")
        if key and key not in sent and not _OPEN.fullmatch(request.path):
            raise http.HttpError(401, _REFUSAL)
        return handler(request)

    return answer
