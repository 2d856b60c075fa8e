"""What an outcome says of the config that was tried."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import EngineError
from geusemaker.models.history import TAG_CHARACTERS, ApplyOutcome, StackTags, Verdicts
from geusemaker.services import verdicts
from tests.unit.fakes import World

CRASH = {"state": "exited", "reason": "it exited (exit code 1)", "logs": ["TypeError: init"]}
FULL = {"state": "restarting", "reason": "exit code 1", "logs": ["PANIC: could not write: No space left on device"]}
REFUSED = {"state": "exited", "reason": "exit code 1", "logs": ["connect ECONNREFUSED 172.18.0.2:5432"]}
OFFLINE = {"state": "unhealthy", "reason": "Error: getaddrinfo EAI_AGAIN registry.example.com"}
WELL = {"state": "healthy"}


def gate(code: str = "unhealthy", **services: Any) -> ApplyOutcome:
    """A gate that failed."""
    return ApplyOutcome(succeeded=False, agent_error={"code": code, "detail": {"services": services}})


@pytest.mark.parametrize(
    ("outcome", "condemned"),
    [
        pytest.param(gate(n8n=CRASH, qdrant=WELL), True, id="a crash"),
        pytest.param(
            gate(n8n={"state": "unhealthy", "reason": "not healthy after 180 s: 503"}), True, id="never ready"
        ),
        pytest.param(
            gate(n8n={"state": "exited", "reason": "it ran out of memory (exit code 137)"}), True, id="its memory"
        ),
        pytest.param(gate(), True, id="an agent that says no more"),
        pytest.param(gate(postgresql=FULL, n8n=REFUSED), False, id="a full disk, and what failed with it"),
        pytest.param(gate(n8n=OFFLINE), False, id="no network"),
        pytest.param(gate(n8n=OFFLINE, qdrant=CRASH), True, id="no network, and a crash beside it"),
        pytest.param(
            gate(n8n={"state": "missing", "reason": "there is no container"}), False, id="removed by somebody"
        ),
        pytest.param(gate("image_mismatch", n8n={"state": "image_mismatch"}), False, id="another image"),
        pytest.param(gate("not_mounted"), False, id="no mount"),
        pytest.param(gate("pull_failed"), False, id="no image"),
        pytest.param(gate("no_space"), False, id="no room for images"),
        pytest.param(gate("cancelled"), False, id="cancelled"),
        pytest.param(
            ApplyOutcome(succeeded=False, diagnostics=("InsufficientInstanceCapacity",)), False, id="capacity"
        ),
        pytest.param(gate(n8n=CRASH).model_copy(update={"timed_out": True}), False, id="the deadline"),
        pytest.param(ApplyOutcome(succeeded=True), False, id="it worked"),
    ],
)
def test_what_is_a_verdict_on_the_config(outcome: ApplyOutcome, condemned: bool) -> None:
    assert verdicts.condemns(outcome) is condemned


def test_a_tag_holds_256_characters_and_forgets_the_oldest() -> None:
    all_of_them = Verdicts(failed=tuple(range(1000, 1100)), newer=tuple(range(1050, 1060)))
    text = all_of_them.to_tag()
    kept = StackTags.read(intent=None, marks=None, verdicts=text, notes={}).verdicts

    assert len(text) <= TAG_CHARACTERS
    assert kept.failed and kept.failed == all_of_them.failed[-len(kept.failed) :]
    few = Verdicts(failed=(2, 1), newer=(3,))
    assert few.to_tag() == '{"failed":[1,2],"newer":[3]}' and Verdicts().to_tag() == "{}"


def test_what_a_way_back_turned_out_to_be_is_kept_beside_them() -> None:
    both = Verdicts(failed=(2,), returns={4: "rollback", 3: "with-data", 5: "rollback"})
    assert both.to_tag() == '{"failed":[2],"with-data":[3],"rollback":[4,5]}'
    assert StackTags.read(intent=None, marks=None, verdicts=both.to_tag(), notes={}).verdicts == both
    many = Verdicts(returns={number: "none" for number in range(1000, 1100)})
    assert len(many.to_tag()) <= TAG_CHARACTERS and "1099" in many.to_tag() and "1000" not in many.to_tag()


def test_tags_of_before_say_nothing_of_verdicts() -> None:
    tags = StackTags.read(intent=None, marks='{"bad":[3]}', verdicts=None, notes={})
    assert tags.bad == (3,) and tags.verdicts == Verdicts() and not tags.unreadable


def test_verdicts_add_up_and_can_be_taken_back(world: World) -> None:
    with_ = world.collaborators()
    verdicts.note(with_, failed=2)
    verdicts.note(with_, newer=3)
    verdicts.note(with_, newer=3)
    assert world.engine.tags().verdicts == Verdicts(failed=(2,), newer=(3,))
    assert world.calls.count("engine.set_verdicts") == 2

    verdicts.note(with_, cleared=3)
    assert world.engine.tags().verdicts == Verdicts(failed=(2,))


def test_a_verdict_that_cannot_be_written_is_a_warning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(found: Verdicts) -> None:
        raise EngineError("the backend is read-only")

    monkeypatch.setattr(world.engine, "set_verdicts", refuse)
    verdicts.note(world.collaborators(), failed=2)
    assert "could not be recorded: the backend is read-only" in world.messages("warning")[0]
