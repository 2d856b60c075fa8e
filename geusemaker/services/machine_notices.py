"""What a plan says of the instance where it changes: who drives its GPUs, what the way back takes, what fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from geusemaker.checks.gpu import GPU_CHECK
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig, describe
from geusemaker.program.compose import limits
from geusemaker.services.differences import another_instance


def machine_notices(before: StackConfig | None, config: StackConfig, checks: Iterable[CheckResult]) -> tuple[str, ...]:
    """One sentence each.

    Args:
        before: what runs; None: nothing does.
        config: what is to run.
        checks: the one that looked at GPUs says who drives them.
    """
    fitting = _fitting(config)
    replaces = another_instance(before, config) if before is not None else ()
    if before is not None and not replaces and before.instance_type == config.instance_type:
        return fitting if fitting != _fitting(before) else ()
    driven = [f"{check.detail}." for check in checks if check.name == GPU_CHECK and check.status != "fail"]
    back = [f"{_ANOTHER[name]}, for the way back as well: that takes --allow-replace, too." for name in replaces]
    spot = [_SPOT] if config.purchase == "spot" and (before is None or before.purchase != "spot") else []
    return (*driven, *spot, *back, *fitting)


_ANOTHER: Final = {
    "ami": "Another machine image is another instance",
    "instanceMarketOptions": "Bought in another way it is another instance",
    "instanceType": "EC2 does not change the type of a spot instance, so it is another one",
}
_SPOT: Final = (
    "AWS may take a spot instance back with two minutes' notice, whenever it needs the capacity: it is stopped, "
    "nothing runs until AWS starts it again, and the data stays."
)
"""docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html"""


def _fitting(config: StackConfig) -> tuple[str, ...]:
    """What its services may load, as far as they load anything."""
    gpu_mib = config.instance.gpu_memory_mib
    said = (describe(config, name).fitting(limit, gpu_mib) for name, limit in limits(config).items())
    return tuple(f"{text}." for text in said if text)
