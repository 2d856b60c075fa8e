"""IAM: roles, their policies, instance profiles."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import tag_changes
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema

_GONE: Final = ("NoSuchEntity",)


def _policy(document: Any) -> Any:
    """A policy document by its meaning: formatting and the order of keys do not matter."""
    try:
        return json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return document


def _policy_text(document: Any) -> str:
    return json.dumps(document) if isinstance(document, dict) else unquote(str(document))


class Role(Resource):
    schema: ClassVar = Schema(
        token="aws:iam/role:Role",
        label="IAM Role",
        properties={
            "assumeRolePolicy": Property(required=True, normalize=_policy),
            "description": Property(),
            "forceDetachPolicies": Property(default=False),
            "maxSessionDuration": Property(default=3600),
            "name": Property(replaces=True),
            "namePrefix": Property(replaces=True),
            "path": Property(replaces=True, default="/"),
            "permissionsBoundary": Property(),
            **TAGS,
        },
        outputs=("arn", "createDate", "inlinePolicies", "managedPolicyArns", "uniqueId"),
        auto_name=AutoName(max_length=64),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request = {
            "RoleName": inputs["name"],
            "AssumeRolePolicyDocument": inputs["assumeRolePolicy"],
            "Description": inputs.get("description"),
            "MaxSessionDuration": inputs.get("maxSessionDuration"),
            "Path": inputs.get("path", "/"),
            "PermissionsBoundary": inputs.get("permissionsBoundary"),
            "Tags": tag_list(inputs.get("tagsAll")),
        }
        given: dict[str, Any] = {key: value for key, value in request.items() if value not in (None, [])}
        with doing(f"creating IAM Role ({inputs['name']})"):
            return aws.iam.create_role(**given)["Role"]["RoleName"]

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        with Attempt(f"reading IAM Role ({resource_id})", _GONE):
            role: Any = aws.iam.get_role(RoleName=resource_id)["Role"]
            attached = aws.iam.list_attached_role_policies(RoleName=resource_id)["AttachedPolicies"]
            return {
                "arn": role["Arn"],
                "assumeRolePolicy": _policy_text(role["AssumeRolePolicyDocument"]),
                "createDate": role["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
                "description": role.get("Description") or "",
                "managedPolicyArns": [policy["PolicyArn"] for policy in attached],
                "maxSessionDuration": role.get("MaxSessionDuration") or 3600,
                "name": role["RoleName"],
                "path": role["Path"],
                "permissionsBoundary": (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn") or "",
                "uniqueId": role["RoleId"],
                **read_tags(role.get("Tags")),
            }
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        if "assumeRolePolicy" in changed:
            with doing(f"updating IAM Role ({resource_id}) assume role policy"):
                aws.iam.update_assume_role_policy(RoleName=resource_id, PolicyDocument=news["assumeRolePolicy"])
        if changed & {"description", "maxSessionDuration"}:
            with doing(f"updating IAM Role ({resource_id})"):
                aws.iam.update_role(
                    RoleName=resource_id,
                    Description=news.get("description", ""),
                    MaxSessionDuration=news.get("maxSessionDuration", 3600),
                )
        if "permissionsBoundary" in changed:
            with doing(f"updating IAM Role ({resource_id}) permissions boundary"):
                if news.get("permissionsBoundary"):
                    aws.iam.put_role_permissions_boundary(
                        RoleName=resource_id, PermissionsBoundary=news["permissionsBoundary"]
                    )
                else:
                    aws.iam.delete_role_permissions_boundary(RoleName=resource_id)
        if changed & {"tags", "tagsAll"}:
            gone, wanted = tag_changes(olds, news)
            with doing(f"updating tags for IAM Role ({resource_id})"):
                if gone:
                    aws.iam.untag_role(RoleName=resource_id, TagKeys=gone)
                if wanted:
                    aws.iam.tag_role(RoleName=resource_id, Tags=tag_list(wanted))

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting IAM Role ({resource_id})", _GONE):
            profiles = aws.iam.list_instance_profiles_for_role(RoleName=resource_id)["InstanceProfiles"]
            for profile in profiles:
                aws.iam.remove_role_from_instance_profile(
                    InstanceProfileName=profile["InstanceProfileName"], RoleName=resource_id
                )
            if state.get("forceDetachPolicies"):
                for policy in aws.iam.list_attached_role_policies(RoleName=resource_id)["AttachedPolicies"]:
                    aws.iam.detach_role_policy(RoleName=resource_id, PolicyArn=policy["PolicyArn"])
                for name in aws.iam.list_role_policies(RoleName=resource_id)["PolicyNames"]:
                    aws.iam.delete_role_policy(RoleName=resource_id, PolicyName=name)
            aws.iam.delete_role(RoleName=resource_id)


class RolePolicyAttachment(Resource):
    schema: ClassVar = Schema(
        token="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        label="IAM Role Policy Attachment",
        properties={
            "role": Property(required=True, replaces=True),
            "policyArn": Property(required=True, replaces=True),
        },
        delete_before_replace=True,
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        role, policy = str(inputs["role"]), str(inputs["policyArn"])
        with doing(f"attaching IAM Policy ({policy}) to IAM Role ({role})"):
            aws.iam.attach_role_policy(RoleName=role, PolicyArn=policy)
        return f"{role}/{policy}"

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        role, policy = resource_id.split("/", 1)
        with Attempt(f"reading IAM Role Policy Attachment ({resource_id})", _GONE):
            attached = aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
            if any(item["PolicyArn"] == policy for item in attached):
                return {"role": role, "policyArn": policy}
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        raise failed(f"updating IAM Role Policy Attachment ({resource_id}): not supported")

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        role, policy = resource_id.split("/", 1)
        with Attempt(f"detaching IAM Policy ({policy}) from IAM Role ({role})", _GONE):
            aws.iam.detach_role_policy(RoleName=role, PolicyArn=policy)


class InstanceProfile(Resource):
    schema: ClassVar = Schema(
        token="aws:iam/instanceProfile:InstanceProfile",
        label="IAM Instance Profile",
        properties={
            "name": Property(replaces=True),
            "namePrefix": Property(replaces=True),
            "path": Property(replaces=True, default="/"),
            "role": Property(),
            **TAGS,
        },
        outputs=("arn", "createDate", "uniqueId"),
        auto_name=AutoName(max_length=128),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {"InstanceProfileName": inputs["name"], "Path": inputs.get("path", "/")}
        if inputs.get("tagsAll"):
            request["Tags"] = tag_list(inputs["tagsAll"])
        with doing(f"creating IAM Instance Profile ({inputs['name']})"):
            return aws.iam.create_instance_profile(**request)["InstanceProfile"]["InstanceProfileName"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        if inputs.get("role"):
            self._add_role(aws, resource_id, inputs["role"])

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        with Attempt(f"reading IAM Instance Profile ({resource_id})", _GONE):
            profile: Any = aws.iam.get_instance_profile(InstanceProfileName=resource_id)["InstanceProfile"]
            roles = profile.get("Roles", ())
            return {
                "arn": profile["Arn"],
                "createDate": profile["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
                "name": profile["InstanceProfileName"],
                "path": profile["Path"],
                "role": roles[0]["RoleName"] if roles else "",
                "uniqueId": profile["InstanceProfileId"],
                **read_tags(profile.get("Tags")),
            }
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        if "role" in changed:
            if olds.get("role"):
                self._remove_role(aws, resource_id, olds["role"])
            if news.get("role"):
                self._add_role(aws, resource_id, news["role"])
        if changed & {"tags", "tagsAll"}:
            gone, wanted = tag_changes(olds, news)
            with doing(f"updating tags for IAM Instance Profile ({resource_id})"):
                if gone:
                    aws.iam.untag_instance_profile(InstanceProfileName=resource_id, TagKeys=gone)
                if wanted:
                    aws.iam.tag_instance_profile(InstanceProfileName=resource_id, Tags=tag_list(wanted))

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        if state.get("role"):
            self._remove_role(aws, resource_id, state["role"])
        with Attempt(f"deleting IAM Instance Profile ({resource_id})", _GONE):
            aws.iam.delete_instance_profile(InstanceProfileName=resource_id)

    def _add_role(self, aws: Aws, name: str, role: str) -> None:
        with doing(f"adding IAM Role ({role}) to IAM Instance Profile ({name})"):
            aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)

    def _remove_role(self, aws: Aws, name: str, role: str) -> None:
        with Attempt(f"removing IAM Role ({role}) from IAM Instance Profile ({name})", _GONE):
            aws.iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role)


RESOURCES: Final = (Role(), RolePolicyAttachment(), InstanceProfile())
