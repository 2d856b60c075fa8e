"""The stand-in for ``pulumi-resource-aws``: engine calls → tables and small functions of each resource type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.providers import wire
from geusemaker.local_cloud.providers.aws import addresses, ebs, ec2, efs, iam, security_group_rules, security_groups
from geusemaker.local_cloud.providers.aws.api import Aws, Clients, attempts
from geusemaker.local_cloud.providers.aws.invoke import INVOKES
from geusemaker.local_cloud.providers.aws.resource import Resource
from geusemaker.local_cloud.providers.aws.values import check, inputs_from, own, planned
from geusemaker.local_cloud.providers.diff import Change, changes
from geusemaker.local_cloud.providers.schema import Schema
from geusemaker.local_cloud.providers.server import (
    Provider,
    ProviderError,
    diff_response,
    gone_event,
    reply,
    unexpected,
    version_of,
)

RESOURCES: Final[Mapping[str, Resource]] = {
    resource.schema.token: resource
    for module in (security_groups, security_group_rules, addresses, ec2, ebs, efs, iam)
    for resource in module.RESOURCES
}


class AwsProvider(Provider):
    """A dozen resource types of AWS, in a given region unless the engine's configuration names another."""

    def __init__(self, endpoint: str, region: str, key: AccessKey) -> None:
        super().__init__(version_of("pulumi_aws"))
        self._clients = Clients(endpoint, key)
        self._region = region

    accepts_names = True

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        olds, news = wire.decode(request.old_inputs or request.olds), wire.decode(request.news)
        found = [
            Change(name, name, "update", name == "region")
            for name in sorted(set(olds) | set(news))
            if name != "version" and olds.get(name) != news.get(name)
        ]
        return diff_response(found, delete_before_replace=False)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        def action() -> provider_pb2.ConfigureResponse:
            response = super(AwsProvider, self).Configure(request, context)
            config = self.session(context).config
            allowed = config.get("allowedAccountIds")
            # Settings of the stack arrive as JSON text.
            allowed = json.loads(allowed) if isinstance(allowed, str) else allowed
            if allowed:
                account = self._clients.account_id(str(config.get("region") or self._region))
                if account not in allowed:  # as terraform-provider-aws words it
                    raise ProviderError(f"AWS account ID not allowed: {account}")
            return response

        response: provider_pb2.ConfigureResponse = reply(context, action)
        return response

    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        def action() -> provider_pb2.InvokeResponse:
            function = INVOKES.get(request.tok)
            if function is None:
                raise ProviderError(f"the local cloud's AWS provider does not know the function {request.tok}")
            args = wire.decode(request.args)
            result = function(self._aws(context, args), args)
            invoked = provider_pb2.InvokeResponse()
            getattr(invoked, "return").CopyFrom(wire.encode(result))
            return invoked

        response: provider_pb2.InvokeResponse = reply(context, action)
        return response

    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        def action() -> provider_pb2.CheckResponse:
            config = self.session(context).config
            inputs, failures = check(
                _resource(request.urn).schema,
                request.urn.rsplit("::", 1)[-1],
                wire.decode(request.olds),
                wire.decode(request.news),
                region=config.get("region") or self._region,
                default_tags=_default_tags(config),
                seed=request.randomSeed,
                proposed=request.autonaming.proposed_name if request.HasField("autonaming") else "",
            )
            return provider_pb2.CheckResponse(
                inputs=wire.encode(inputs),
                failures=[provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures],
            )

        response: provider_pb2.CheckResponse = reply(context, action)
        return response

    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        def action() -> provider_pb2.DiffResponse:
            resource = _resource(request.urn)
            news = wire.decode(request.news)
            found = self._changes(context, resource, request, news)
            return diff_response(found, delete_before_replace=_deletes_first(resource.schema, news))

        response: provider_pb2.DiffResponse = reply(context, action)
        return response

    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        def action() -> provider_pb2.CreateResponse:
            resource = _resource(request.urn)
            inputs = wire.decode(request.properties)
            if request.preview:
                return provider_pb2.CreateResponse(properties=wire.encode(planned(resource.schema, inputs)))
            aws = self._aws(context, inputs)
            resource_id = resource.create(aws, inputs)
            outputs = own(inputs)
            try:
                resource.settle(aws, resource_id, inputs)
                outputs = _merged(outputs, resource.read(aws, resource_id, outputs) or {})
            except Exception as error:
                # Whatever went wrong, the resource exists: the engine must know its id.
                raise ProviderError(
                    f"creating {request.urn}: {unexpected(error)}",
                    reported_id=resource_id,
                    outputs=outputs,
                    inputs=inputs,
                ) from error
            return provider_pb2.CreateResponse(id=resource_id, properties=wire.encode(outputs))

        response: provider_pb2.CreateResponse = reply(context, action)
        return response

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        def action() -> provider_pb2.ReadResponse:
            resource = _resource(request.urn)
            state, old_inputs = wire.decode(request.properties), wire.decode(request.inputs)
            aws = self._aws(context, state)
            found = resource.read(aws, request.id, state)
            if found is None:
                return provider_pb2.ReadResponse(id="")
            outputs = _merged(state, {"region": aws.region, **found})
            inputs = inputs_from(resource.schema, old_inputs, outputs)
            return provider_pb2.ReadResponse(id=request.id, properties=wire.encode(outputs), inputs=wire.encode(inputs))

        response: provider_pb2.ReadResponse = reply(context, action)
        return response

    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        def action() -> provider_pb2.UpdateResponse:
            resource = _resource(request.urn)
            olds, old_inputs, news = (
                wire.decode(request.olds),
                wire.decode(request.old_inputs),
                wire.decode(request.news),
            )
            changed = {
                change.property for change in changes(resource.schema, old_inputs, olds, news, request.ignoreChanges)
            }
            outputs = _merged(_without_removed(resource.schema, olds, old_inputs, news), own(news))
            if request.preview:
                unknown = dict.fromkeys(resource.unknown_after(changed), wire.UNKNOWN)
                return provider_pb2.UpdateResponse(properties=wire.encode({**outputs, **unknown}))
            aws = self._aws(context, news)
            try:
                if changed:
                    resource.update(aws, request.id, olds, news, changed)
                found = resource.read(aws, request.id, outputs)
                if found is None:
                    raise ProviderError(f"{resource.schema.label} ({request.id}): couldn't find resource")
            except Exception as error:
                # Terraform's plugin SDK keeps the planned state when an update fails, and Pulumi saves it with the
                # error, so the next run updates again.
                raise ProviderError(
                    f"updating {request.urn}: {unexpected(error)}", reported_id=request.id, outputs=outputs, inputs=news
                ) from error
            return provider_pb2.UpdateResponse(properties=wire.encode(_merged(outputs, found)))

        response: provider_pb2.UpdateResponse = reply(context, action)
        return response

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        def action() -> empty_pb2.Empty:
            state = wire.decode(request.properties)
            try:
                _resource(request.urn).delete(self._aws(context, state), request.id, state)
            except ProviderError as error:
                raise ProviderError(f"deleting {request.urn}: {error}") from error
            return empty_pb2.Empty()

        response: empty_pb2.Empty = reply(context, action)
        return response

    def _aws(self, context: grpc.ServicerContext, values: Mapping[str, Any]) -> Aws:
        session = self.session(context)
        region = values.get("region") or session.config.get("region") or self._region
        return Aws(self._clients, str(region), session.cancelled, gone_event(context), attempts(session.config))

    def _changes(
        self,
        context: grpc.ServicerContext,
        resource: Resource,
        request: provider_pb2.DiffRequest,
        news: Mapping[str, Any],
    ) -> list[Change]:
        olds = wire.decode(request.olds)
        found = changes(resource.schema, wire.decode(request.old_inputs), olds, news, request.ignoreChanges)
        if not found:
            return found
        changed = {change.property for change in found}
        more = resource.also_replaces(self._aws(context, news), olds, news, changed)
        return [
            Change(change.path, change.property, change.kind, change.replaces or change.property in more)
            for change in found
        ]


def _resource(urn: str) -> Resource:
    token = urn.split("::")[2].split("$")[-1]
    resource = RESOURCES.get(token)
    if resource is None:
        raise ProviderError(f"the local cloud's AWS provider does not know the resource type {token}")
    return resource


def _default_tags(config: Mapping[str, Any]) -> Mapping[str, Any]:
    tags = (config.get("defaultTags") or {}).get("tags")
    return tags if isinstance(tags, Mapping) else {}


def _deletes_first(schema: Schema, news: Mapping[str, Any]) -> bool:
    """Whether a replacement cannot exist beside the old one: always for some types, else when both have one name."""
    naming = schema.auto_name
    given = naming is not None and naming.property in news and naming.property not in news.get("__defaults", ())
    return schema.delete_before_replace or given


def _without_removed(
    schema: Schema, olds: Mapping[str, Any], old_inputs: Mapping[str, Any], news: Mapping[str, Any]
) -> dict[str, Any]:
    removed = {name for name in old_inputs if name not in news and name not in schema.computed}
    return {name: value for name, value in olds.items() if name not in removed}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The second over the first; members of nested objects that only the first has are kept, those of maps are not."""
    merged = dict(first)
    for name, value in second.items():
        before = merged.get(name)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping) and name in _NESTED
        merged[name] = {**before, **value} if nested and isinstance(before, Mapping) else value
    return merged


def _nested_objects(resources: Iterable[Resource]) -> frozenset[str]:
    return frozenset(
        name for item in resources for name, rule in item.schema.properties.items() if rule.fields is not None
    )


_NESTED: Final = _nested_objects(RESOURCES.values())
