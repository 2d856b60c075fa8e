"""A history with everything in it that the picture can show; the README's picture is made of it.

TZ=UTC python -m tests.unit.test_cli.sample_history > docs/history.svg
"""

from __future__ import annotations

from datetime import timedelta

from geusemaker.cli.output.page import STYLE
from geusemaker.cli.output.picture import render_timeline
from geusemaker.models.inspection import Inspection
from geusemaker.models.version import RollbackRecord, Version, WayBack
from tests.unit.test_cli.fakes import NIGHT, config, inspection, version

MIGRATES = WayBack(to_version=1, kind="with-data", because=("n8n migrates its <database>",))
DAYS = (0, 6, 13, 13, 20, 27, 34, 35)


def _at(number: int, found: Version) -> Version:
    """The version, made on a day of its own."""
    origin = found.provenance.model_copy(update={"created_at": NIGHT + timedelta(days=DAYS[number - 1])})
    return found.model_copy(update={"provenance": origin})


def history() -> Inspection:
    """Eight versions: a failed one that went back by itself, an interrupted one, and a rollback by a person."""
    versions = [
        version(1, "deploy"),
        version(2, config=config(n8n="1.92.0"), foreseen=MIGRATES, way_back="with-data"),
        version(3, config=config(n8n="1.93.0"), status="failed", healthy=False, gate_failed=True),
        version(4, "rollback", config=config(n8n="1.92.0"), source_version=2, trigger="health_check_failed"),
        version(5, config=config("t3.xlarge", "1.92.0")),
        version(6, config=config("t3.xlarge", "1.94.0"), status="interrupted", healthy=False),
        version(7, config=config("t3.xlarge", "1.94.0"), foreseen=MIGRATES, way_back="rollback"),
        version(
            8, "rollback", config=config(n8n="1.92.0"), source_version=4, reason="slow since <Friday> & so"
        ).model_copy(update={"status": "active"}),
    ]
    record = RollbackRecord(
        timestamp=NIGHT,
        trigger="health_check_failed",
        success=True,
        error_message="n8n: it exited (exit code 1)",
        previous_state_version=3,
        rolled_back_changes=["n8n image: 1.93.0 -> 1.92.0"],
        version=4,
        source_version=2,
        operation_id="op-4",
        actor="ann@box",
        duration_seconds=20.5,
    )
    numbered = [_at(number, found) for number, found in enumerate(versions, 1)]
    return inspection(versions=numbered, rollbacks=[record], active_version=8)


def picture() -> str:
    """The history's timeline as a file of its own."""
    found = history()
    records = {record.operation_id: record for record in found.rollbacks}
    return render_timeline(found.versions, records, f"<style>{STYLE}</style>") + "\n"


if __name__ == "__main__":
    print(picture(), end="")
