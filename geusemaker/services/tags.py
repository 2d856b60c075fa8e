"""Tags and permissions boundary of the operator's own: facts of the deployment, which no version has. Pure."""

from __future__ import annotations

import re
from typing import Final

from geusemaker.errors import InvalidInputError
from geusemaker.models.plan import ConfigChange
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import Target

NONE: Final = "none"
"""Given as permissions boundary: there is to be none."""
_MOST: Final = 45
"""A resource has at most 50, geusemaker's own among them.

https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
"""
_TEXT: Final = re.compile(r"[\w .:/=+\-@]*")
"""Letters of any language, digits, spaces and ``_.:/=+-@``: what IAM, EC2 and EFS all take.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html
"""
_BOUNDARY: Final = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?:\d{12}|aws):policy/[\w+=,.@/-]{1,512}", re.ASCII)


def with_rights(target: Target, request: ConfigRequest) -> Target:
    """The target with the tags and the permissions boundary that are asked for.

    A tag without a value goes; those of a stack file are all of them.

    Raises:
        InvalidInputError: they cannot be had.
    """
    file = request.desired
    whole = file is not None and file.deployment.tags is not None
    boundary = target.permissions_boundary
    if request.permissions_boundary is not None:
        boundary = _boundary(request.permissions_boundary, target)
    if not request.tags and not whole:
        return target.model_copy(update={"permissions_boundary": boundary})
    tags = {**({} if whole else target.tags), **request.tags}
    kept = {key: value for key, value in sorted(tags.items()) if value}
    for key, value in request.tags.items():
        _require_tag(key, value)
    if len(kept) > _MOST:
        raise InvalidInputError(f"At most {_MOST} tags can be had, and these are {len(kept)}.")
    folded: dict[str, str] = {}
    for key in kept:
        if (other := folded.setdefault(key.lower(), key)) != key:
            raise InvalidInputError(f"The tags {other} and {key} are the same to IAM, which does not tell capitals.")
    return target.model_copy(update={"tags": kept, "root_volume_tagged": True, "permissions_boundary": boundary})


def rights_changes(before: Target | None, after: Target) -> tuple[ConfigChange, ...]:
    """The lines of a plan that say so."""
    if before is None:
        return ()
    keys = sorted({*before.tags, *after.tags})
    found = [
        ConfigChange(path=f"tags.{key}", old=before.tags.get(key), new=after.tags.get(key))
        for key in keys
        if before.tags.get(key) != after.tags.get(key)
    ]
    old, new = before.permissions_boundary, after.permissions_boundary
    if old != new:
        found.append(ConfigChange(path="permissions_boundary", old=old or None, new=new or None))
    return tuple(found)


def _require_tag(key: str, value: str) -> None:
    if not key or len(key) > 128 or len(value) > 256 or not _TEXT.fullmatch(key) or not _TEXT.fullmatch(value):
        raise InvalidInputError(
            f"AWS takes no such tag: {key}={value}.",
            next_step="A key has 1 to 128 characters and a value 256: letters, digits, spaces and _.:/=+-@.",
        )
    if key.lower().startswith(("aws:", "geusemaker:")) or key == "Name":
        raise InvalidInputError(f"The tag {key} is {'AWS' if key.lower().startswith('aws:') else 'geusemaker'}'s own.")


def _boundary(wanted: str, target: Target) -> str:
    if wanted.lower() == NONE:
        return ""
    match = _BOUNDARY.fullmatch(wanted)
    if match is None:
        raise InvalidInputError(
            f"{wanted} is no policy's ARN.",
            next_step="Give one as arn:aws:iam::123456789012:policy/NAME, or none to take the boundary away.",
        )
    if target.partition and match["partition"] != target.partition:
        raise InvalidInputError(f"{wanted} is of the partition {match['partition']}; this is {target.partition}.")
    return wanted
