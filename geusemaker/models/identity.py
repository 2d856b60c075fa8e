"""Whose world it is: the AWS account that credentials belong to."""

from __future__ import annotations

from geusemaker.models.base import Model


class MissingRights(Model):
    """Actions, as policies name them, that the credentials lack for what is planned."""

    refused: tuple[str, ...] = ()
    """AWS said so."""
    doubtful: tuple[str, ...] = ()
    """IAM's simulation says so, which does not know all that a policy may look at."""


class Caller(Model):
    """Who AWS says that the credentials are: account (twelve digits), partition (aws, aws-cn, aws-us-gov)."""

    account_id: str
    partition: str
    arn: str = ""
    """Which user, or which role in which session."""

    @property
    def told(self) -> str:
        """``account 123456789012 as user/anna``."""
        return f"account {self.account_id}" + (f" as {self.arn.split(':', 5)[5]}" if self.arn else "")
