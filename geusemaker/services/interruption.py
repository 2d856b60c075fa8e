"""Why an instance that should run does not: EC2 took it back, it went down by itself, or somebody wanted it. Pure.

EC2 tells it by the code of its StateReason, of an instance that is gone for about an hour:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from geusemaker.agent.protocol.stored import SpotNotice
from geusemaker.models.ending import InstanceEnd
from geusemaker.models.inspection import InstanceState
from geusemaker.models.stack import StackConfig

EC2_STARTS_IT: Final = "EC2 starts it by itself as soon as it has capacity again, and its services with it."
_PATIENCE: Final = timedelta(minutes=15)
"""So long after a notice, of two minutes, an instance that runs is not taken for one that is about to go."""
_SPOT: Final = ("Server.SpotInstanceShutdown", "Server.SpotInstanceTermination")
_BY_ITSELF: Final = "Client.InstanceInitiatedShutdown"
_ON_PURPOSE: Final = ("Client.UserInitiatedShutdown", "Client.UserInitiatedHibernate", "Client.InstanceTerminated")


def how_it_ended(
    config: StackConfig | None, instance: InstanceState | None, gone: InstanceState | None
) -> InstanceEnd | None:
    """Why there is no instance that runs; None where one runs or starts, or where there is to be none.

    Args:
        config: of the active version; None: there is none.
        instance: the deployment's, as AWS has it.
        gone: where there is none, the last one that was, if AWS still tells of it.
    """
    if config is None or (instance is not None and instance.state not in ("stopping", "stopped")):
        return None
    ended = instance or gone
    if ended is None:
        # On AWS, what somebody terminated is told of for an hour. Of a spot instance the more likely reason is taken.
        spot = config.purchase == "spot"
        why = "it was a spot instance, and AWS tells no more why it is gone" if spot else ""
        return InstanceEnd(cause="interrupted" if spot else "unknown", why=why)
    name, code = ended.id, ended.reason
    if code in _SPOT:
        return InstanceEnd(instance_id=name, cause="interrupted", why=f"EC2 took {name} back, as it does with spot")
    if code.startswith("Server."):
        return InstanceEnd(instance_id=name, cause="interrupted", why=f"AWS itself ended {name}: {code}")
    if code == _BY_ITSELF:
        return InstanceEnd(instance_id=name, cause="interrupted", why=f"{name} was shut down from within")
    if code in _ON_PURPOSE:
        return InstanceEnd(instance_id=name, cause="on_purpose", why=f"somebody had AWS end {name}")
    return InstanceEnd(instance_id=name, cause="unknown")


def what_was_noticed(
    notice: SpotNotice | None, boot: str, instance: InstanceState | None, now: datetime
) -> InstanceEnd | None:
    """What an instance that runs has noted of its end: it is about to come, or has been; None: nothing is noted of it.

    Args:
        notice: what lies beside the data.
        boot: which boot of the instance this is, as the agent tells it.
        instance: the deployment's.
        now: the time, in UTC.
    """
    if notice is None or instance is None or notice.instance_id != instance.id or instance.state != "running":
        return None
    name, at = instance.id, notice.at or notice.noticed_at
    if notice.returned_at:
        why = f"EC2 took {name} back ({at}) and started it again; its services are back since {notice.returned_at}"
        return InstanceEnd(instance_id=name, cause="returned", why=why)
    if notice.boot == boot and _is_over(notice, now):
        why = f"EC2 gave notice of taking {name} back ({at}) and did not, and its services were stopped for that"
        return InstanceEnd(instance_id=name, cause="interrupted", why=why)
    if notice.boot == boot:
        why = f"EC2 takes {name} back ({notice.action} at {at}), and its services were stopped in order"
        return InstanceEnd(instance_id=name, cause="ending", why=why)
    why = f"EC2 took {name} back ({at}) and started it again, and its services are not back"
    return InstanceEnd(instance_id=name, cause="interrupted", why=why)


def _is_over(notice: SpotNotice, now: datetime) -> bool:
    """Whether an instance that was to be gone by now is not: a notice is no promise."""
    try:
        at = datetime.fromisoformat(notice.noticed_at)
    except ValueError:
        return False
    return now - at > _PATIENCE


def waits_for_capacity(config: StackConfig | None, instance: InstanceState | None) -> bool:
    """Whether EC2 alone starts the instance again, and that is to be waited for.

    "Only Amazon EC2 can restart an interrupted stopped Spot Instance":
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
    """
    if config is None or instance is None or config.purchase != "spot":
        return False
    taken = instance.state in ("stopping", "stopped") and instance.reason in _SPOT
    return taken and config.rollback.on_interruption == "wait"


def brought_back(config: StackConfig, ended: InstanceEnd | None, *, on_demand: bool) -> StackConfig:
    """The config with which a version comes back whose instance does not run.

    Args:
        config: the version's.
        ended: why its instance does not run.
        on_demand: somebody wants it on demand, whatever its setting says of what EC2 took.
    """
    if ended is None or config.purchase != "spot":
        return config
    if not on_demand and (ended.cause, config.rollback.on_interruption) != ("interrupted", "on-demand"):
        return config
    return config.model_copy(update={"purchase": "on-demand"})
