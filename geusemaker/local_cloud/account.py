"""The account that a local cloud is: its own, so that two of them are two accounts as on AWS. Cheap to import."""

from __future__ import annotations

import os
import secrets
from typing import Final

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.paths import CloudPaths

FORMER: Final = "123456789012"
"""moto's default, which every local cloud was before each had its own."""


def adopt_account(paths: CloudPaths) -> str:
    """The id that this local cloud keeps for good, made up at its first start; moto answers as it from now on.

    One with a state of before stays what it was: the state names it, and so do ARNs that were given out.

    Raises:
        LocalCloudError: the file with the id was changed to something else.
    """
    try:
        account = paths.account.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        account = FORMER if paths.aws_state.exists() else f"{secrets.randbelow(9 * 10**11) + 10**11}"
        write(paths.account, account)
    if len(account) != 12 or not account.isdecimal():
        raise LocalCloudError(
            f"{paths.account} does not hold an account's twelve digits.",
            next_step="Put back what was there; the end of the ARNs' account part in `aws iam list-roles` tells it.",
        )
    os.environ["MOTO_ACCOUNT_ID"] = account
    return account


def own_account() -> str:
    """The account as which moto answers in this process."""
    return os.environ.get("MOTO_ACCOUNT_ID", FORMER)
