"""OSV, the database of published holes: which of them a release has. What it said is kept for a day.

google.github.io/osv.dev/post-v1-query: no key is needed. Only a package's name and version are sent: nothing of the
deployment, the account or this machine. The form of a record: ossf.github.io/osv-schema.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from geusemaker.cloud.cvss import base_score
from geusemaker.cloud.http import Http, HttpError
from geusemaker.models.advisory import Advisory, Published, Severity, Span

_FRESH: Final = timedelta(days=1)
"""Holes become known any day, and a night's second rollback must not ask anew."""
_KEPT: Final = timedelta(days=90)
"""Older answers are dropped: the file holds what this workspace went back to lately."""
_PAGES: Final = 20
_KINDS: Final = ("introduced", "fixed", "last_affected", "limit")


class Osv:
    """Asks OSV's API, or a mirror of it.

    Args:
        address: its base URL; what is no URL is told as the problem of each question.
        file: where what was said is kept; it holds nothing of the deployments.
        now: the time.
        timeout_seconds: for each request, until the answer begins.
    """

    def __init__(self, address: str, file: Path, now: Callable[[], datetime], timeout_seconds: float = 2.0) -> None:
        self._address = address.rstrip("/")
        self._file = file
        self._now = now
        self._http = Http(timeout_seconds)
        self._lock = threading.Lock()

    def published(self, ecosystem: str, name: str, version: str) -> Published:
        """The critical and high holes of a release; never an error: ``problem`` says why they are not known."""
        key = f"{ecosystem} {name} {version}"
        kept = self._kept().get(key)
        if kept is not None and kept[0] > self._now() - _FRESH:
            return Published(advisories=kept[1])
        try:
            found = tuple(self._ask(ecosystem, name, version))
        except HttpError as error:
            problem = f"{urlsplit(self._address).hostname or 'OSV'} {error}"
            if kept is None:
                return Published(problem=problem)
            return Published(advisories=kept[1], day=kept[0].date(), problem=problem)
        self._keep(key, found)
        return Published(advisories=found)

    def _ask(self, ecosystem: str, name: str, version: str) -> Iterator[Advisory]:
        """
        Raises:
            HttpError: there is no answer that could be used.
        """
        if urlsplit(self._address).scheme not in ("http", "https") or not urlsplit(self._address).hostname:
            raise HttpError("cannot be asked: GEUSEMAKER_ADVISORIES is neither a URL nor `off`")
        question: dict[str, Any] = {"package": {"ecosystem": ecosystem, "name": name}, "version": version}
        for _ in range(_PAGES):
            page = self._page(question)
            for record in page.get("vulns") or ():
                if (advisory := read(record, ecosystem, name)) is not None:
                    yield advisory
            if not page.get("next_page_token"):
                return
            question["page_token"] = page["next_page_token"]
        raise HttpError(f"gives more than {_PAGES} pages")

    def _page(self, question: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        body = json.dumps(question).encode()
        answer = self._http.request("POST", f"{self._address}/v1/query", headers, body)
        if answer.status != 200:
            raise HttpError(f"answers {answer.status}")
        try:
            page = json.loads(answer.data)
        except ValueError as error:
            raise HttpError("gives no JSON") from error
        if not isinstance(page, dict):
            raise HttpError("gives another answer than is known of it")
        return page

    def _kept(self) -> dict[str, tuple[datetime, tuple[Advisory, ...]]]:
        """Question → when it was answered, and what. A file that cannot be used is as good as none: it is asked."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {
                key: (
                    datetime.fromisoformat(at).astimezone(UTC),
                    tuple(Advisory.model_validate(one) for one in advisories),
                )
                for key, (at, advisories) in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _keep(self, key: str, found: tuple[Advisory, ...]) -> None:
        """Put what was said into the file; where that cannot be, it is asked again the next time."""
        with self._lock, contextlib.suppress(OSError):
            now = self._now()
            all_of_it = {known: what for known, what in self._kept().items() if what[0] > now - _KEPT}
            all_of_it[key] = (now, found)
            whole = {
                known: [at.isoformat(), [one.model_dump(mode="json", exclude_defaults=True) for one in those]]
                for known, (at, those) in all_of_it.items()
            }
            written = self._file.with_name(f".{self._file.name}.{secrets.token_hex(4)}")
            written.write_text(json.dumps(whole, indent=1, sort_keys=True), encoding="utf-8")
            written.replace(self._file)


def read(record: Any, ecosystem: str, name: str) -> Advisory | None:
    """What a record says of a package; None where it is withdrawn, of malware, not critical or high, or no record.

    A record that is not of the known form is left out: one of many is better missed than all of them.
    """
    try:
        id_ = str(record["id"])
        severity = _severity(record)
        if id_.startswith("MAL-") or record.get("withdrawn") or severity is None:
            return None
        entries = [entry for entry in record.get("affected") or () if _is_of(entry, ecosystem, name)]
        spans = tuple(span for entry in entries for span in _spans(entry))
        listed = {str(version) for entry in entries for version in entry.get("versions") or ()}
        return Advisory(
            id=id_,
            aliases=tuple(str(alias) for alias in record.get("aliases") or ()),
            severity=severity,
            summary=" ".join(str(record.get("summary") or "").split())[:200],
            spans=spans,
            versions=() if spans else tuple(sorted(listed)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_of(entry: Mapping[str, Any], ecosystem: str, name: str) -> bool:
    """Whether an entry is of the package. What is known by its repository alone has none."""
    package = entry.get("package")
    if package is None:
        return ecosystem == "GIT"
    return str(package.get("ecosystem")).partition(":")[0] == ecosystem and package.get("name") == name


def _spans(entry: Mapping[str, Any]) -> Iterator[Span]:
    """The ranges of an entry whose versions have an order. Commits have none; a record may say what they are."""
    for each in entry.get("ranges") or ():
        events = each.get("events") or ()
        if each.get("type") == "GIT":
            said = each.get("database_specific") or {}
            events = said.get("extracted_events") or said.get("versions") or ()
        known = tuple((kind, str(event[kind])) for event in events for kind in _KINDS if kind in event)
        if known:
            yield Span.model_validate({"events": known})


def _severity(record: Mapping[str, Any]) -> Severity | None:
    """``critical``, ``high`` or None: by the publisher's word, else by the CVSS 3 vector."""
    word = str((record.get("database_specific") or {}).get("severity") or "").lower()
    if word:
        return "critical" if word == "critical" else "high" if word == "high" else None
    given = [
        *(record.get("severity") or ()),
        *(one for each in record.get("affected") or () for one in each.get("severity") or ()),
    ]
    scores = [score for one in given if (score := base_score(str(one.get("score")))) is not None]
    worst = max(scores, default=0.0)
    return "critical" if worst >= 9 else "high" if worst >= 7 else None
