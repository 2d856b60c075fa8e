"""AWS's price list, asked by real boto3 of a server that answers as AWS does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geusemaker.cloud.prices import PriceList
from geusemaker.models.cost import Rates

DAY = date(2026, 11, 30)


def product(usage: str, price: str, unit: str = "Hrs", **attributes: str) -> str:
    """A product of the list, with a price on demand, in the list's own form."""
    dimension = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": price}}
    return json.dumps(
        {
            "product": {"attributes": {"usagetype": usage, **attributes}, "sku": usage},
            "terms": {"OnDemand": {f"{usage}.T": {"priceDimensions": {f"{usage}.T.D": dimension}}}, "Reserved": {}},
            "version": "20261101000000",
        }
    )


LISTED: dict[str, list[str]] = {
    "AmazonEC2 instanceType=t3.large": [product("EUC1-BoxUsage:t3.large", "0.0960000000")],
    "AmazonEC2 instanceType=t3.xlarge": [product("EUC1-BoxUsage:t3.xlarge", "0.1920000000")],
    "AmazonEC2 instanceType=t9.none": [],
    "AmazonEC2 instanceType=t9.two": [
        product("EUC1-BoxUsage:t9.two", "0.1000000000"),
        product("BoxUsage:t9.two", "0.2000000000"),
    ],
    "AmazonEC2 volumeApiName=gp3": [product("EUC1-EBS:VolumeUsage.gp3", "0.0952000000", "GB-Mo")],
    "AmazonVPC group=VPCPublicIPv4Address": [
        product("EUC1-PublicIPv4:IdleAddress", "0.0060000000"),
        product("EUC1-PublicIPv4:InUseAddress", "0.0050000000"),
        product("EUC1-PublicIPv4:ContiguousBlock", "0.0080000000"),
    ],
    "AmazonEFS storageClass=General Purpose": [product("EUC1-TimedStorage-ByteHrs", "0.3600000000", "GB-Mo")],
    "AmazonEFS accessType=Read": [
        product("EUC1-IADataAccess-Bytes", "0.0120000000", "GB", accessType="Read"),
        product("EUC1-ETDataAccess-Bytes", "0.0400000000", "GB", accessType="Read"),
    ],
    "AmazonEFS accessType=Write": [product("EUC1-ETDataAccess-Bytes", "0.0700000000", "GB", accessType="Write")],
}
"""What is asked for → what the list has of it in eu-central-1."""


class Site:
    """The server: notes what it is asked, and may refuse or be silent."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refuses = False
        self.silent_seconds = 0.0
        site = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                site.asked.append(asked)
                time.sleep(site.silent_seconds)  # a server that is slow to answer
                status, said = site.answer(asked)
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """As AWS answers."""
        if self.refuses:
            return 400, {
                "__type": "AccessDeniedException",
                "Message": "User: arn:aws:iam::1:user/a is not authorized to perform: pricing:GetProducts",
            }
        filters = {one["Field"]: one["Value"] for one in asked["Filters"]}
        assert filters["regionCode"] == "eu-central-1"
        [found] = [
            products
            for question, products in LISTED.items()
            for service, _, wanted in [question.partition(" ")]
            if service == asked["ServiceCode"] and filters.get(wanted.split("=")[0]) == wanted.split("=")[1]
        ]
        # One to a page, so that the token is used.
        start = int(asked.get("NextToken", 0))
        more = {"NextToken": str(start + 1)} if start + 1 < len(found) else {}
        return 200, {"FormatVersion": "aws_v1", "PriceList": found[start : start + 1], **more}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """AWS's price list, here."""
    site = Site()
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{site.server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    yield site
    site.server.shutdown()
    site.server.server_close()


def prices(folder: Path, day: date = DAY) -> PriceList:
    return PriceList({}, folder / "prices.json", lambda: day)


def test_each_price_is_found_among_its_like(site: Site, tmp_path: Path) -> None:
    rates = prices(tmp_path).rates("eu-central-1", "aws", ["t3.large", "t3.xlarge"])
    assert rates == Rates(
        instances={"t3.large": 0.096, "t3.xlarge": 0.192},
        volume=0.0952,
        address=0.005,
        efs=0.36,
        efs_read=0.04,
        efs_write=0.07,
        day=DAY,
    )


def test_what_was_told_is_kept_for_a_week_with_its_day(site: Site, tmp_path: Path) -> None:
    prices(tmp_path).rates("eu-central-1", "aws", ["t3.large"])
    asked = len(site.asked)
    again = prices(tmp_path, date(2026, 12, 7)).rates("eu-central-1", "aws", ["t3.large"])
    assert (len(site.asked), again.day, again.instances) == (asked, DAY, {"t3.large": 0.096})
    other = prices(tmp_path).rates("eu-central-1", "aws", ["t3.xlarge"])
    assert (len(site.asked), other.instances) == (asked + 1, {"t3.xlarge": 0.192}), "only what is not known is asked"
    later = prices(tmp_path, date(2026, 12, 9)).rates("eu-central-1", "aws", ["t3.large"])
    assert later.day == date(2026, 12, 9) and len(site.asked) > asked + 1
    site.refuses = True
    old = prices(tmp_path, date(2027, 3, 1)).rates("eu-central-1", "aws", ["t3.large"])
    assert (old.day, old.instances) == (date(2026, 11, 30), {"t3.large": 0.096}) or old.day == date(2026, 12, 9)
    assert old.instances == {"t3.large": 0.096} and "AccessDenied" in old.problem
    assert "123456789012" not in (tmp_path / "prices.json").read_text()


@pytest.mark.parametrize("name", ["t9.none", "t9.two"])
def test_no_price_and_two_prices_are_unknown(site: Site, tmp_path: Path, name: str) -> None:
    rates = prices(tmp_path).rates("eu-central-1", "aws", [name])
    assert rates.instances == {name: None} and rates.volume == 0.0952
    assert rates.problem == f"AWS's price list has no one price of instance {name} in eu-central-1"


def test_a_refusal_is_told_once_and_nothing_is_invented(site: Site, tmp_path: Path) -> None:
    site.refuses = True
    rates = prices(tmp_path).rates("eu-central-1", "aws", ["t3.large"])
    assert (rates.instances, rates.volume, rates.day) == ({"t3.large": None}, None, None)
    assert rates.problem.count("AccessDenied") == 1 and "GetProducts" in rates.problem
    assert not (tmp_path / "prices.json").exists()


def test_another_partition_is_not_asked(site: Site, tmp_path: Path) -> None:
    rates = prices(tmp_path).rates("cn-north-1", "aws-cn", ["t3.large"])
    assert rates.problem == "AWS publishes no prices in US dollars for aws-cn" and site.asked == []


def test_nobody_waits_long_for_a_price(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PriceList, "read_seconds", 0.2)
    site.silent_seconds = 2.0
    rates = prices(tmp_path).rates("eu-central-1", "aws", ["t3.large"])
    assert rates.instances == {"t3.large": None} and "cannot be" in rates.problem
    assert len(site.asked) <= 6, "nothing is asked twice"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"eu-central-1": 3}', '{"eu-central-1": {"volume": ["x", "2026-11-30"]}}']
)
def test_a_damaged_file_is_as_good_as_none(site: Site, tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.json").write_text(text)
    assert prices(tmp_path).rates("eu-central-1", "aws", []).volume == 0.0952
    assert json.loads((tmp_path / "prices.json").read_text())["eu-central-1"]["volume"] == ["0.0952", "2026-11-30"]


def test_a_folder_that_cannot_be_written_costs_a_question_each_time(site: Site, tmp_path: Path) -> None:
    assert prices(tmp_path / "none").rates("eu-central-1", "aws", []).address == 0.005
