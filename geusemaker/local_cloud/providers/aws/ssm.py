"""SSM parameters."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import tag_changes
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema

_GONE: Final = ("ParameterNotFound",)


class Parameter(Resource):
    schema: ClassVar = Schema(
        token="aws:ssm/parameter:Parameter",
        label="SSM Parameter",
        properties={
            "allowedPattern": Property(),
            "arn": Property(computed=True),
            "dataType": Property(replaces=True, computed=True),
            "description": Property(),
            "insecureValue": Property(computed=True),
            "keyId": Property(computed=True),
            "name": Property(replaces=True),
            "overwrite": Property(),
            "tier": Property(computed=True),
            "type": Property(required=True),
            "value": Property(computed=True),
            "region": REGION,
            **TAGS,
        },
        outputs=("hasValueWo", "version"),
        auto_name=AutoName(prefix_property="", max_length=2048),
    )

    def also_replaces(self, aws: Aws, olds: Values, news: Values, changed: set[str]) -> set[str]:
        # An advanced parameter cannot become a standard one again.
        downgrade = olds.get("tier") == "Advanced" and news.get("tier") == "Standard"
        return {"tier"} if downgrade else set()

    def unknown_after(self, changed: set[str]) -> set[str]:
        return {"version"} if changed - {"tags", "tagsAll"} else set()

    def create(self, aws: Aws, inputs: Values) -> str:
        self._put(aws, inputs, overwrite=bool(inputs.get("overwrite")), creating=True)
        return str(inputs["name"])

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        with Attempt(f"reading SSM Parameter ({resource_id})", _GONE):
            parameter: Any = aws.ssm.get_parameter(Name=resource_id, WithDecryption=True)["Parameter"]
            filters: list[Any] = [{"Key": "Name", "Option": "Equals", "Values": [resource_id]}]
            listed = aws.ssm.describe_parameters(ParameterFilters=filters)["Parameters"]
            tags: Any = aws.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=resource_id)["TagList"]
            detail: Any = listed[0] if listed else {}
            return {
                "arn": parameter["ARN"],
                "dataType": parameter.get("DataType") or "text",
                "description": detail.get("Description") or "",
                "insecureValue": "" if parameter["Type"] == "SecureString" else parameter["Value"],
                "keyId": detail.get("KeyId") or "",
                "name": parameter["Name"],
                "tier": detail.get("Tier") or "Standard",
                "type": parameter["Type"],
                "value": parameter["Value"],
                "version": parameter["Version"],
                **read_tags(tags),
            }
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        if changed - {"tags", "tagsAll", "overwrite"}:
            self._put(aws, news, overwrite=True, creating=False)
        if changed & {"tags", "tagsAll"}:
            gone, wanted = tag_changes(olds, news)
            with doing(f"updating SSM Parameter ({resource_id}) tags"):
                if gone:
                    aws.ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=resource_id, TagKeys=gone)
                if wanted:
                    aws.ssm.add_tags_to_resource(
                        ResourceType="Parameter", ResourceId=resource_id, Tags=tag_list(wanted)
                    )

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting SSM Parameter ({resource_id})", _GONE):
            aws.ssm.delete_parameter(Name=resource_id)

    def _put(self, aws: Aws, inputs: Values, *, overwrite: bool, creating: bool) -> None:
        request = {
            "Name": inputs["name"],
            "Type": inputs["type"],
            "Value": inputs.get("value", inputs.get("insecureValue")),
            "Description": inputs.get("description"),
            "KeyId": inputs.get("keyId"),
            "Tier": inputs.get("tier"),
            "DataType": inputs.get("dataType"),
            "AllowedPattern": inputs.get("allowedPattern"),
        }
        given: dict[str, Any] = {key: value for key, value in request.items() if value is not None}
        if creating and not overwrite and inputs.get("tagsAll"):
            given["Tags"] = tag_list(inputs["tagsAll"])
        with doing(f"{'creating' if creating else 'updating'} SSM Parameter ({inputs['name']})"):
            aws.ssm.put_parameter(Overwrite=overwrite, **given)


RESOURCES: Final = (Parameter(),)
