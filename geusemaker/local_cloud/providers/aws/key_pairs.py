"""EC2 key pairs."""

from __future__ import annotations

from typing import Any, ClassVar

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema


class KeyPair(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/keyPair:KeyPair",
        label="EC2 Key Pair",
        properties={
            "keyName": Property(replaces=True),
            "keyNamePrefix": Property(replaces=True),
            "publicKey": Property(required=True, replaces=True, normalize=lambda value: str(value).strip()),
            "region": REGION,
            **TAGS,
        },
        outputs=("arn", "fingerprint", "keyPairId", "keyType"),
        auto_name=AutoName("keyName", "keyNamePrefix"),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {
            "KeyName": inputs["keyName"],
            "PublicKeyMaterial": str(inputs["publicKey"]).strip().encode(),
        }
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "key-pair", "Tags": tag_list(inputs["tagsAll"])}]
        with doing(f"importing EC2 Key Pair ({inputs['keyName']})"):
            return aws.ec2.import_key_pair(**request)["KeyName"]

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        pair: Any = None
        with Attempt(f"reading EC2 Key Pair ({resource_id})", ("InvalidKeyPair.NotFound",)):
            found = aws.ec2.describe_key_pairs(KeyNames=[resource_id])["KeyPairs"]
            pair = found[0] if found else None
        if pair is None:
            return None
        return {
            "keyName": resource_id,
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:key-pair/{resource_id}",
            "fingerprint": pair.get("KeyFingerprint"),
            "keyPairId": pair.get("KeyPairId"),
            "keyType": pair.get("KeyType") or _key_type(str(state.get("publicKey", ""))),
            **read_tags(pair.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 Key Pair ({resource_id})"):
            update_tags(aws, str(olds.get("keyPairId")), olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EC2 Key Pair ({resource_id})", ("InvalidKeyPair.NotFound",)):
            aws.ec2.delete_key_pair(KeyName=resource_id)


def _key_type(public_key: str) -> str:
    return "ed25519" if public_key.startswith("ssh-ed25519") else "rsa"
