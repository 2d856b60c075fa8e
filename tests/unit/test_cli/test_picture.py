"""The history as a page: what is on it, that it asks nothing of anybody, and how a real browser shows it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import time
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from geusemaker.cli.output.picture import Beside, render_page
from tests.next_steps import ROOT
from tests.unit.test_cli.conftest import Run
from tests.unit.test_cli.sample_history import history, picture

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
LOGGED = {"op-3": ["n8n: Error: <script>alert(1)</script>"]}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the operator's zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def page() -> str:
    return render_page(history(), Beside((), LOGGED), NOW)


def test_all_versions_are_on_it_newest_first_and_rollbacks_are_arcs() -> None:
    text = page()
    assert re.findall(r'<article id="(v\d)"', text) == [f"v{number}" for number in range(8, 0, -1)]
    assert len(re.findall(r'class="arc by-itself"', text)) == len(re.findall(r'class="arc by-hand"', text)) == 1
    assert "v4 has the config of v2: n8n: it exited (exit code 1)" in text
    assert "slow since &lt;Friday&gt; &amp; so" in text and "n8n 1.93.0 → 1.92.0" in text


def test_a_way_back_is_on_it_as_it_turned_out() -> None:
    ways = re.findall(r"<dt>Way back</dt><dd>(.*?)</dd>", page())
    assert ways == ["to v1: rollback", "to v1: with-data (n8n migrates its &lt;database&gt;)"]


def test_no_text_from_outside_is_markup() -> None:
    text = page()
    assert "&lt;script&gt;" in text and "<script" not in text


class Loads(HTMLParser):
    """What of a page a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "image", "use"):
            self.found.append(tag)
        self.found += [
            f"{key}={value}"
            for key, value in attrs
            if key.startswith("on") or (key in ("src", "href") and not (value or "").startswith("#"))
        ]


def test_it_loads_nothing_and_runs_nothing() -> None:
    parser = Loads()
    parser.feed(page())
    assert parser.found == []
    assert "default-src 'none'" in page() and not re.search(r"url\((?!#)|@import", page())


def test_what_was_not_looked_at_is_said() -> None:
    assert "Checkpoints were not looked at" in render_page(history(), Beside(None, {}), NOW)
    assert "not looked at" not in page()


def test_a_deployment_without_versions_has_a_page() -> None:
    empty = history().model_copy(update={"versions": [], "rollbacks": [], "active_version": None})
    text = render_page(empty, Beside((), {}), NOW)
    assert "0 versions, no version is active" in text and "<article" not in text


def test_the_picture_of_the_readme_is_that_of_the_sample() -> None:
    ET.fromstring(picture())  # a file of its own has to be XML
    assert (ROOT / "docs/history.svg").read_text() == picture(), "python -m tests.unit.test_cli.sample_history"


def test_the_verb_writes_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "history.html"
    result = run("history", "prod", "--html", str(file))
    assert result.exit_code == 0 and str(file) in result.stdout
    text = file.read_text()
    assert text.startswith("<!doctype html>") and "n8n: Error: no" in text
    refused = run("history", "prod", "--html", str(tmp_path / "none/history.html"))
    assert refused.exit_code == 2 and "cannot be written" in refused.stderr


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pixels(file: Path) -> list[bytes]:
    """The rows of an 8-bit PNG without interlacing, as Chromium writes it, each pixel as red, green and blue."""
    data, place, packed, width, depth = file.read_bytes(), 8, b"", 0, 3
    while place < len(data):
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, _, _, colour = struct.unpack(">IIBB", body[:10])
            depth = {2: 3, 6: 4}[colour]
        packed += body if kind == b"IDAT" else b""
        place += length + 12
    raw, size = zlib.decompress(packed), width * depth
    rows, before = [], bytes(size)
    for start in range(0, len(raw), size + 1):
        kind_of_row, row = raw[start], bytearray(raw[start + 1 : start + 1 + size])
        for at in range(size):
            left = row[at - depth] if at >= depth else 0
            above, corner = before[at], before[at - depth] if at >= depth else 0
            if kind_of_row == 4:
                guess = left + above - corner
                near = min(
                    (abs(guess - left), 0, left), (abs(guess - above), 1, above), (abs(guess - corner), 2, corner)
                )
                row[at] = (row[at] + near[2]) & 255
            else:
                row[at] = (row[at] + (0, left, above, (left + above) // 2)[kind_of_row]) & 255
        before = bytes(row)
        rows.append(b"".join(before[at : at + 3] for at in range(0, size, depth)))
    return rows


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: Debian's package is chromium")
@pytest.mark.parametrize(
    ("scheme", "paper", "good", "bad"),
    [("1", "ffffff", "1a7f37", "cf222e"), ("0", "0d1117", "3fb950", "f85149")],
    ids=["light", "dark"],
)
def test_a_real_browser_shows_it(tmp_path: Path, scheme: str, paper: str, good: str, bad: str) -> None:
    file, shot = tmp_path / "history.html", tmp_path / "history.png"
    file.write_text(page())
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=900,420"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, f"--screenshot={shot}", file.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert shot.exists(), done.stderr
    assert "Content Security Policy" not in done.stderr
    rows = pixels(shot)
    assert len(rows) == 420 and rows[2][:3].hex() == paper
    seen = b"".join(rows)
    colours = [seen[at : at + 3].hex() for at in range(0, len(seen), 3)]
    assert colours.count(good) > 1000 and colours.count(bad) > 200  # six healthy versions, one that is not
