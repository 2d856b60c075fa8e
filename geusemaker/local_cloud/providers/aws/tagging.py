"""Tags of EC2 resources."""

from __future__ import annotations

from typing import Any

from geusemaker.local_cloud.providers.aws.api import Aws, tag_list
from geusemaker.local_cloud.providers.aws.resource import Values


def tag_changes(olds: Values, news: Values) -> tuple[list[str], dict[str, Any]]:
    """Keys to remove and tags to set."""
    before, after = olds.get("tagsAll") or {}, news.get("tagsAll") or {}
    gone = [key for key in before if key not in after]
    return gone, {key: value for key, value in after.items() if before.get(key) != value}


def update_tags(aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
    """Bring the tags of an EC2 resource to what is wanted; the API's errors are left to the caller."""
    if not changed & {"tags", "tagsAll"}:
        return
    gone, wanted = tag_changes(olds, news)
    if gone:
        aws.ec2.delete_tags(Resources=[resource_id], Tags=[{"Key": key} for key in gone])
    if wanted:
        aws.ec2.create_tags(Resources=[resource_id], Tags=tag_list(wanted))
