"""AWS's price list: what an hour, a GiB, an address costs in a region. What was told is kept for a week, with its day.

The question and the form of its answer: docs.aws.amazon.com/aws-cost-management/latest/APIReference/
API_pricing_GetProducts.html. It takes the permission ``pricing:GetProducts``, and tells the same to every account.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from geusemaker.cloud.session import AwsSession
from geusemaker.errors import GeusemakerError
from geusemaker.models.cost import Rates

_FRESH: Final = timedelta(days=7)
_PAGES: Final = 3
"""A question is asked for so many pages of a hundred products; each of these is answered by one."""


@dataclass(frozen=True)
class _Question:
    """One price: where it stands in the list."""

    key: str
    """Under which it is kept."""
    service: str
    filters: Mapping[str, str]
    usage: str
    """What the product's ``usagetype`` matches, after the region's prefix."""
    access: str = ""
    """Its ``accessType``, where it has one."""


_VOLUME: Final = _Question(
    "volume", "AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp3"}, r"EBS:VolumeUsage\.gp3"
)
_ADDRESS: Final = _Question("address", "AmazonVPC", {"group": "VPCPublicIPv4Address"}, r"PublicIPv4:InUseAddress")
_EFS: Final = _Question("efs", "AmazonEFS", {"storageClass": "General Purpose"}, r"TimedStorage-ByteHrs")
_EFS_READ: Final = _Question("efs read", "AmazonEFS", {"accessType": "Read"}, r"ETDataAccess-Bytes", "Read")
_EFS_WRITE: Final = _Question("efs write", "AmazonEFS", {"accessType": "Write"}, r"ETDataAccess-Bytes", "Write")


def _instance(instance_type: str) -> _Question:
    """Linux, by the hour, shared hardware, nothing installed beforehand."""
    filters = {
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
    }
    return _Question(f"instance {instance_type}", "AmazonEC2", filters, rf"BoxUsage:{re.escape(instance_type)}")


class PriceList(AwsSession):
    """What AWS asks for, by the list of prices that it publishes.

    Args:
        environment: variables of the target; see AwsSession.
        file: where what was told is kept; it holds nothing of the account.
        today: the day.
        settings: see AwsSession.
    """

    connect_seconds = 2
    read_seconds = 4
    retries = 0

    def __init__(
        self,
        environment: dict[str, str],
        file: Path,
        today: Callable[[], date],
        settings: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        super().__init__("us-east-1", environment, settings)
        self._file = file
        self._today = today

    def rates(self, region: str, partition: str, instance_types: Iterable[str]) -> Rates:
        """What is asked for in a region; never an error: what cannot be had is None, and ``problem`` says why."""
        types = sorted(set(instance_types))
        questions = [_VOLUME, _ADDRESS, _EFS, _EFS_READ, _EFS_WRITE, *map(_instance, types)]
        kept = self._kept(region)
        fresh = (self._today() - _FRESH).isoformat()
        old = [question for question in questions if kept.get(question.key, ("", ""))[1] < fresh]
        problem = ""
        if old and partition not in ("", "aws"):
            # China's list has its own site and currency, the others have none that these credentials open.
            problem = f"AWS publishes no prices in US dollars for {partition}"
        elif old:
            told, problem = self._ask_all(region, old)
            kept |= told
            if told:
                self._keep(region, kept)
        days = [kept[question.key][1] for question in questions if question.key in kept]

        def price(question: _Question) -> float | None:
            return float(kept[question.key][0]) if question.key in kept else None

        return Rates(
            instances={name: price(_instance(name)) for name in types},
            volume=price(_VOLUME),
            address=price(_ADDRESS),
            efs=price(_EFS),
            efs_read=price(_EFS_READ),
            efs_write=price(_EFS_WRITE),
            day=date.fromisoformat(min(days)) if days else None,
            problem=problem,
        )

    def _ask_all(self, region: str, questions: list[_Question]) -> tuple[dict[str, tuple[str, str]], str]:
        """(what was told, with today's date; why something was not)"""
        self.region = _site(region)
        told: dict[str, tuple[str, str]] = {}
        problems: list[str] = []
        with ThreadPoolExecutor(len(questions)) as pool:
            for question, answer in zip(
                questions, pool.map(lambda one: self._price(region, one), questions), strict=True
            ):
                if isinstance(answer, GeusemakerError):
                    problems.append(answer.message.rstrip("."))
                elif answer is None:
                    problems.append(f"AWS's price list has no one price of {question.key} in {region}")
                else:
                    told[question.key] = (answer, self._today().isoformat())
        return told, "; ".join(dict.fromkeys(problems))

    def _price(self, region: str, question: _Question) -> str | GeusemakerError | None:
        wanted = {**question.filters, "regionCode": region}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        products: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        try:
            for _ in range(_PAGES):
                asked = {"ServiceCode": question.service, "Filters": filters, "MaxResults": 100, **token}
                page = self._ask("pricing", lambda pricing, asked=asked: pricing.get_products(**asked))  # type: ignore[misc]
                products += [json.loads(text) for text in page["PriceList"]]
                if not page.get("NextToken"):
                    break
                token = {"NextToken": page["NextToken"]}
        except GeusemakerError as error:
            return error
        prices = {price for product in products if (price := _on_demand(product, question)) is not None}
        return prices.pop() if len(prices) == 1 else None

    def _kept(self, region: str) -> dict[str, tuple[str, str]]:
        """Question → price and day. A file that cannot be used is as good as none: it is asked again."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))[region]
            return {
                key: (str(float(price)), date.fromisoformat(day).isoformat()) for key, (price, day) in found.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _keep(self, region: str, prices: Mapping[str, tuple[str, str]]) -> None:
        """Put what was told into the file; where that cannot be, it is asked again the next time."""
        with contextlib.suppress(OSError):
            try:
                all_regions = json.loads(self._file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                all_regions = {}
            whole = {**(all_regions if isinstance(all_regions, dict) else {}), region: prices}
            written = self._file.with_name(f".{self._file.name}.{secrets.token_hex(4)}")
            written.write_text(json.dumps(whole, indent=1, sort_keys=True), encoding="utf-8")
            written.replace(self._file)


def _site(region: str) -> str:
    """The nearest of the places that answer (botocore's endpoints.json, ``api.pricing``)."""
    return {"eu": "eu-central-1", "ap": "ap-south-1"}.get(region.partition("-")[0], "us-east-1")


def _on_demand(product: Mapping[str, Any], question: _Question) -> str | None:
    """A product's price on demand; None where it is not what was asked for, or has none. A zero stands for no offer."""
    attributes = product.get("product", {}).get("attributes", {})
    # us-east-1's had no prefix, and newer ones of it do: EBS:VolumeUsage.gp3, USE1-ETDataAccess-Bytes.
    if not re.fullmatch(rf"([A-Z]+[0-9]*-)?{question.usage}", str(attributes.get("usagetype"))):
        return None
    if question.access and attributes.get("accessType") != question.access:
        return None
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if float(dimension.get("beginRange") or 0) == 0  # the first tier, where there are several
    ]
    prices = [str(float(one["pricePerUnit"]["USD"])) for one in dimensions if "USD" in one.get("pricePerUnit", {})]
    return next((price for price in prices if float(price) > 0), None)
