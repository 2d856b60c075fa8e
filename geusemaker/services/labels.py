"""Labels: what a deployment is found by among others. Of the deployment, no version's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from geusemaker.errors import InvalidInputError
from geusemaker.models.plan import ConfigChange
from geusemaker.models.request import ConfigRequest

_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,21}[A-Za-z0-9])?")
"""A stack tag's name has at most 40 characters of these and a colon, 17 of which are ``geusemaker:label-``.

https://github.com/pulumi/pulumi/blob/master/pkg/util/validation/stack.go
"""
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
"""As a label's value in Kubernetes, so that it needs no quotes where deployments are chosen by it.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""


def labels_of(request: ConfigRequest, known: Mapping[str, str]) -> dict[str, str]:
    """The labels that are to be others: key → value, an empty one where it is to go.

    Args:
        request: what is asked for; a stack file's labels are all of them.
        known: those that the deployment has.

    Raises:
        InvalidInputError: they cannot be had.
    """
    file = request.desired
    whole = file is not None and file.deployment.labels is not None
    wished = {**({key: "" for key in known} if whole else {}), **request.labels}
    for key, value in request.labels.items():
        if not _KEY.fullmatch(key) or (value and not _VALUE.fullmatch(value)):
            raise InvalidInputError(
                f"{key}={value} cannot be a label.",
                next_step="A key has 1 to 23 characters and a value at most 63: letters, digits, and - _ . within.",
            )
    return {key: value for key, value in sorted(wished.items()) if value != known.get(key, "")}


def label_changes(known: Mapping[str, str], changed: Mapping[str, str]) -> tuple[ConfigChange, ...]:
    """The lines of a plan that say so."""
    return tuple(
        ConfigChange(path=f"labels.{key}", old=known.get(key), new=value or None) for key, value in changed.items()
    )
