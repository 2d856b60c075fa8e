"""Whose world it is: the AWS account that credentials belong to."""

from __future__ import annotations

from geusemaker.models.base import Model


class Caller(Model):
    """Who AWS says that the credentials are: account (twelve digits) and partition (aws, aws-cn, aws-us-gov)."""

    account_id: str
    partition: str
