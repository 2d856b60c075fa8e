"""Spot instances, of which moto knows little more than the word: their requests, and what EC2 does by itself.

A persistent request outlives its instance: EC2 starts what it stopped when it has capacity again, and makes another
instance where one was terminated while the request was not cancelled.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-requests.html (states), …/interruption-behavior.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from geusemaker.local_cloud.strictness import Account, AwsCall, AwsRefusalError

__all__ = ["SpotRequest", "check_spot", "fill", "find_spot", "give_back", "require_running", "take_back"]

_FULFILLED: Final = "fulfilled"


class SpotRequest:
    """A request, as DescribeSpotInstanceRequests tells of it."""

    def __init__(self, request_id: str, instance: Any, options: dict[str, Any], launched_with: Any) -> None:
        self.id = self.spot_instance_request_id = request_id
        self.instance = instance
        self.instance_id = instance.id
        self.type = options.get("SpotInstanceType") or "one-time"
        self.instance_interruption_behavior = options.get("InstanceInterruptionBehavior") or "terminate"
        self.state = "active"
        self.code = _FULFILLED
        self.create_time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.launched_with = launched_with
        """What its instance was made with, for the next one."""

    @property
    def status(self) -> dict[str, str]:
        """How it is, by the codes of …/UserGuide/spot-request-status.html."""
        return {"Code": self.code, "Message": "", "UpdateTime": self.create_time}

    @property
    def persistent(self) -> bool:
        """Whether it stays when its instance goes."""
        return bool(self.type == "persistent")

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        """What moto compares a filter of DescribeSpotInstanceRequests with."""
        known = {"state": self.state, "spot-instance-request-id": self.id, "instance-id": self.instance_id}
        return known.get(filter_name)


def find_spot(ec2: Any, instance_id: str) -> SpotRequest | None:
    """The request that an instance was launched for; None: it is no spot instance."""
    found = [one for one in ec2.spot_instance_requests.values() if getattr(one, "instance_id", "") == instance_id]
    return found[-1] if found else None


def check_spot(call: AwsCall, account: Account) -> None:
    """Refuse what EC2 refuses of spot instances.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html ("not the instance type", "Only
    Amazon EC2 can restart an interrupted stopped Spot Instance"), …/spot-request-prereqs.html (stop and start)

    Raises:
        AwsRefusalError: EC2 would not accept the call.
    """
    if call.service != "ec2":
        return
    if call.action == "RunInstances":
        options = "InstanceMarketOptions.SpotOptions"
        kind = call.parameters.get(f"{options}.SpotInstanceType", "one-time")
        behaviour = call.parameters.get(f"{options}.InstanceInterruptionBehavior", "terminate")
        if kind == "persistent" and behaviour == "terminate":
            raise AwsRefusalError(
                "InvalidParameterCombination",
                "Persistent Spot Instance requests are only supported when the instance interruption behavior is "
                "hibernate or stop.",
            )
    for instance_id in [*call.values("InstanceId"), *filter(None, [call.parameters.get("InstanceId")])]:
        instance = account.find_instance(instance_id)
        if instance is None or not instance.spot_state:
            continue
        if call.action == "ModifyInstanceAttribute" and "InstanceType.Value" in call.parameters:
            raise AwsRefusalError(
                "UnsupportedOperation", f"The instance type of the Spot Instance '{instance_id}' cannot be modified."
            )
        if call.action == "StartInstances" and instance.state == "stopped" and instance.spot_state != "active":
            raise AwsRefusalError(
                "IncorrectSpotRequestState",
                f"You can't start the Spot Instance '{instance_id}' because the associated Spot Instance request is "
                "not in an appropriate state to support start.",
            )
        if call.action == "StopInstances" and not instance.spot_persists:
            raise AwsRefusalError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance_id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )


def take_back(ec2: Any, instance_id: str, *, stops: bool) -> None:
    """Interrupt an instance: EC2 stops it as its request says, or, with ``stops`` false, it goes for good.

    Raises:
        AwsRefusalError: it is none that EC2 could interrupt now.
    """
    request = require_running(ec2, instance_id)
    if stops and request.instance_interruption_behavior == "stop":
        request.instance.stop()
        _reason(request.instance, "Server.SpotInstanceShutdown", "no capacity for the Spot request")
        request.state, request.code = "disabled", "instance-stopped-no-capacity"
    else:
        request.state, request.code = "closed", "instance-terminated-no-capacity"
        request.instance.terminate()
        _reason(request.instance, "Server.SpotInstanceTermination", "no capacity for the Spot request")


def require_running(ec2: Any, instance_id: str) -> SpotRequest:
    """The request of a spot instance that runs.

    Raises:
        AwsRefusalError: it is none, or does not run.
    """
    request = _interruptible(ec2, instance_id)
    if request.instance.state != "running":
        raise AwsRefusalError("IncorrectInstanceState", f"{instance_id} does not run: it is {request.instance.state}.")
    return request


def give_back(ec2: Any, instance_id: str) -> None:
    """There is capacity again: EC2 starts what it had stopped.

    Raises:
        AwsRefusalError: it is none that EC2 has stopped.
    """
    request = _interruptible(ec2, instance_id)
    if request.state != "disabled":
        raise AwsRefusalError("IncorrectSpotRequestState", f"{instance_id} was not stopped by EC2.")
    request.instance.start()
    request.state, request.code = "active", _FULFILLED


def _interruptible(ec2: Any, instance_id: str) -> SpotRequest:
    request = find_spot(ec2, instance_id)
    if request is None:
        raise AwsRefusalError("InvalidInstanceID", f"{instance_id} is no spot instance, so EC2 does not interrupt it.")
    return request


def _reason(instance: Any, code: str, why: str) -> None:
    from moto.ec2.models.instances import StateReason

    instance._reason = f"{code}: {why}"
    instance.state_reason = StateReason(f"{code}: {why}", code)


def fill() -> None:
    """Have moto keep requests for spot instances; may be called again."""
    from moto.ec2.models import EC2Backend

    from geusemaker.local_cloud.moto_gaps import before_correction, correct

    _launches()
    terminate = before_correction(EC2Backend, "terminate_instances")

    def terminate_instances(self: Any, instance_ids: list[str]) -> Any:
        gone = terminate(self, instance_ids)
        for instance_id in instance_ids:
            request = find_spot(self, instance_id)
            if request is None:
                continue
            if request.persistent and request.state in ("active", "disabled"):
                _launch_again(self, request)
            elif request.state == "active":
                request.state, request.code = "closed", "instance-terminated-by-user"
        return gone

    cancels = "cancel_spot_instance_requests"
    correct(EC2Backend, "terminate_instances", terminate_instances, terminate)

    def cancel(self: Any, request_ids: list[str]) -> list[Any]:
        from moto.ec2.exceptions import InvalidParameterValueError

        requests = []
        for request_id in request_ids:
            request = self.spot_instance_requests.get(request_id)
            if request is None:
                raise InvalidParameterValueError(request_id)
            # EC2 terminates those of its instances that are stopped (…/interruption-behavior.html).
            if request.state != "closed":
                request.state, request.code = "cancelled", "request-canceled-and-instance-running"
            if request.instance.state == "stopped":
                request.instance.terminate()
            requests.append(request)
        return requests

    correct(EC2Backend, cancels, cancel, before_correction(EC2Backend, cancels))


def _launches() -> None:
    from moto.ec2.models import EC2Backend
    from moto.ec2.responses.instances import InstanceResponse

    from geusemaker.local_cloud.moto_gaps import before_correction, correct

    run, answer = before_correction(EC2Backend, "run_instances"), before_correction(InstanceResponse, "run_instances")

    def run_instances(self: Any, *arguments: Any, **rest: Any) -> Any:
        made = run(self, *arguments, **rest)
        for instance in made.instances:
            if rest.get("instance_market_options"):
                instance.launched_with = (arguments, rest)
        return made

    def respond(self: Any) -> Any:
        given = answer(self)
        options = self._get_param("InstanceMarketOptions.SpotOptions", {}) or {}
        for instance in given.result.instances:
            if hasattr(instance, "launched_with"):
                _note(self.ec2_backend, instance, dict(options))
        return given

    correct(EC2Backend, "run_instances", run_instances, run)
    correct(InstanceResponse, "run_instances", respond, answer)


def _note(ec2: Any, instance: Any, options: dict[str, Any], request_id: str = "") -> None:
    from moto.ec2.utils import random_spot_request_id

    request = SpotRequest(request_id or random_spot_request_id(), instance, options, instance.launched_with)
    ec2.spot_instance_requests[request.id] = request
    instance.instance_lifecycle = "spot"
    instance.spot_instance_request_id = request.id


def _launch_again(ec2: Any, request: SpotRequest) -> None:
    """Another instance for a request that nobody cancelled."""
    arguments, rest = request.launched_with
    instance = ec2.run_instances(*arguments, **rest).instances[0]
    options = {"SpotInstanceType": request.type, "InstanceInterruptionBehavior": request.instance_interruption_behavior}
    _note(ec2, instance, options, request.id)
