"""Older data is put in place before older software starts, and back before any other does; nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.data import n8n_key
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.verbs import load as loading
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, DirectAgent, apply_document, do, gate_document

FIRST, SECOND, THIRD = (f"op-2026080{day}120000-0a1b2c" for day in (1, 2, 3))
ENDING = "20260802120000_0a1b2c"
BEFORE, BESIDE, FAILED = (f"n8n_{what}_{ENDING}" for what in ("before", "restoring", "failed"))
CHECKPOINT = f"v1/{FIRST}"
IMAGES = {"postgresql": POSTGRES, "n8n": N8N}


@pytest.fixture
def files(machine: Machine) -> Path:
    """n8n's folder with a file in it (before ``agent``, whose checkpoint has it)."""
    home = machine.root / "mnt/efs/n8n"
    (home / "binaryData").mkdir(parents=True)
    (home / "binaryData/then").write_text("then")
    return home


@pytest.fixture
def agent(files: Path, mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """PostgreSQL and n8n, of which there is a checkpoint; a second operation holds the lease."""
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation=FIRST)
    do(mounted, "apply", **apply_document(FIRST, IMAGES))
    counts = {"SELECT quote_ident": ["public.t"], "SELECT sum(n)": ["1"]}
    machine.update(
        rows={
            "postgres": {
                "SELECT datname": ["n8n", "postgres"],
                "SELECT pg_terminate_backend": ["t"],
                "SELECT 1": ["1"],
            }
            | counts,
            "n8n": counts,
        },
        dumps={"n8n": "THE DUMP\n-- PostgreSQL database dump complete"},
    )
    do(mounted, "checkpoint", operation=FIRST, number=1, kind="update", services=["postgresql"])
    do(mounted, "end", operation=FIRST, outcome="done")
    (files / "binaryData/now").write_text("now")
    do(mounted, "begin", operation=SECOND)
    return mounted


def load(agent: DirectAgent, **changes: Any) -> Json:
    return do(agent, "load", **{"operation": SECOND, "checkpoint": CHECKPOINT, **changes})


def apply(agent: DirectAgent, operation: str, **changes: Any) -> Json:
    return do(agent, "apply", **apply_document(operation, IMAGES, **changes))


def other_begins(agent: DirectAgent) -> None:
    """A third operation takes the lease of the second, which was killed or failed."""
    do(agent, "begin", operation=THIRD, takeover=SECOND)


def databases(machine: Machine) -> set[str]:
    return set(machine.state["rows"]["postgres"]["SELECT datname"])


def tree(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def test_it_is_loaded_while_everything_runs_and_exchanged_before_anything_starts(
    agent: DirectAgent, machine: Machine, files: Path
) -> None:
    assert load(agent) == {"loaded": ["n8n"], "kept": {"n8n": BEFORE}}
    assert not machine.calls("docker", "stop") and databases(machine) == {"n8n", BESIDE, "postgres"}
    assert machine.state["loaded"] == {BESIDE: "THE DUMP\n-- PostgreSQL database dump complete\n"}

    begun = len(machine.calls())
    answer = apply(agent, SECOND, returns=True)
    assert (answer["restored"], answer["kept"]) == (CHECKPOINT, {"n8n": BEFORE})
    assert answer["set_aside"] == [f"n8n/binaryData_before_{ENDING}"]
    assert databases(machine) == {"n8n", BEFORE, "postgres"}
    assert (tree(files / "binaryData"), tree(agent.efs / answer["set_aside"][0])) == ({"then"}, {"then", "now"})
    lines = [" ".join(call[1:]) for call in machine.calls()[begun:]]
    order = [next(index for index, line in enumerate(lines) if word in line) for word in ("stop ", " RENAME ")]
    ups = [index for index, line in enumerate(lines) if " up -d" in line]
    assert order[0] < ups[0] < order[1] < ups[1] and lines[ups[0]].endswith(" postgresql"), "n8n starts last"
    [swap] = [line for line in lines if " RENAME " in line]
    assert f'ALTER DATABASE "n8n" RENAME TO "{BEFORE}"; ALTER DATABASE "{BESIDE}" RENAME TO "n8n"' in swap

    # The same command once more, as a plain `pulumi up` has it: nothing is exchanged twice.
    assert apply(agent, SECOND, returns=True)["kept"] == {"n8n": BEFORE}
    assert do(agent, "end", operation=SECOND, outcome="done")
    again = apply(agent, SECOND, returns=True)
    assert "kept" not in again and databases(machine) == {"n8n", BEFORE, "postgres"}


def test_whoever_comes_before_it_is_settled_puts_back_what_was_there(
    agent: DirectAgent, machine: Machine, files: Path
) -> None:
    load(agent)
    apply(agent, SECOND, returns=True)
    (files / "binaryData/meanwhile").write_text("of the older n8n")
    other_begins(agent)
    assert refused(partial(load, agent, operation=THIRD)).code == "return_open"
    answer = apply(agent, THIRD, settled=FIRST)
    assert (answer["put_back"], answer["kept"]) == (CHECKPOINT, {"n8n": FAILED})
    assert databases(machine) == {"n8n", FAILED, "postgres"}
    assert tree(files / "binaryData") == {"then", "now"}
    assert tree(files / f"binaryData_failed_{ENDING}") == {"then", "meanwhile"}
    assert "put_back" not in apply(agent, THIRD), "once"
    assert load(agent, operation=THIRD)["kept"] == {"n8n": "n8n_before_20260803120000_0a1b2c"}


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_what_is_settled_stays(agent: DirectAgent, machine: Machine, outcome: str) -> None:
    """It was given back as done; or the history knows the version as the active one."""
    load(agent)
    apply(agent, SECOND, returns=True)
    do(agent, "end", operation=SECOND, outcome=outcome)
    other_begins(agent)
    assert "put_back" not in apply(agent, THIRD, settled=SECOND if outcome == "failed" else FIRST)
    assert "put_back" not in apply(agent, THIRD)
    assert databases(machine) == {"n8n", BEFORE, "postgres"}


def test_a_restore_by_hand_is_not_taken_back(agent: DirectAgent, machine: Machine) -> None:
    load(agent)
    apply(agent, SECOND, returns=True)
    other_begins(agent)
    do(agent, "restore", operation=THIRD, number=2, checkpoint=CHECKPOINT, services=["postgresql"])
    assert "put_back" not in apply(agent, THIRD)
    assert databases(machine) == {"n8n", BEFORE, "n8n_before_20260803120000_0a1b2c", "postgres"}


@pytest.mark.parametrize("step", ["pg_terminate_backend", "RENAME TO"])
def test_killed_before_the_names_are_changed_it_is_as_before(
    agent: DirectAgent, machine: Machine, files: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(agent)
    with monkeypatch.context() as patch:
        patch.setattr("geusemaker.agent.verbs.restore.rename_databases", _killed)
        refused(partial(apply, agent, SECOND, returns=True))
    assert tree(files / "binaryData") == {"then"}, "the files came first"
    other_begins(agent)
    with monkeypatch.context() as patch:  # and the way back is killed as well
        patch.setattr(loading, "rename_databases", _killed)
        refused(partial(apply, agent, THIRD))
    assert apply(agent, THIRD)["put_back"] == CHECKPOINT
    assert databases(machine) == {"n8n", "postgres"} and tree(files / "binaryData") == {"then", "now"}


def _killed(*words: object) -> None:
    raise AgentError("docker_failed", "killed")


def test_killed_after_the_names_are_changed_back_it_is_done(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(agent)
    apply(agent, SECOND, returns=True)
    other_begins(agent)
    with monkeypatch.context() as patch:
        patch.setattr(agent.store, "forget_return", _killed)
        refused(partial(apply, agent, THIRD))
    assert apply(agent, THIRD)["kept"] == {"n8n": FAILED}
    assert databases(machine) == {"n8n", FAILED, "postgres"}


def test_what_somebody_dropped_is_not_put_back_as_nothing(agent: DirectAgent, machine: Machine) -> None:
    load(agent)
    apply(agent, SECOND, returns=True)
    machine.state["rows"]["postgres"]["SELECT datname"].remove(BEFORE)
    machine.update(
        rows=machine.state["rows"] | {"postgres": {**machine.state["rows"]["postgres"], "SELECT datname": ["n8n"]}}
    )
    other_begins(agent)
    assert apply(agent, THIRD)["kept"] == {} and databases(machine) == {"n8n"}


def test_a_database_that_was_not_there_goes_aside(agent: DirectAgent, machine: Machine) -> None:
    rows = machine.state["rows"]
    machine.update(rows={**rows, "postgres": {**rows["postgres"], "SELECT datname": ["postgres"]}})
    assert load(agent)["kept"] == {}
    apply(agent, SECOND, returns=True)
    assert databases(machine) == {"n8n", "postgres"}
    other_begins(agent)
    assert apply(agent, THIRD)["kept"] == {"n8n": FAILED}
    assert databases(machine) == {FAILED, "postgres"}


def test_what_is_not_loaded_is_not_put_in_place(agent: DirectAgent, machine: Machine) -> None:
    assert refused(partial(apply, agent, SECOND, returns=True)).code == "not_loaded"
    load(agent)
    rows = machine.state["rows"]
    machine.update(rows={**rows, "postgres": {**rows["postgres"], "SELECT datname": ["n8n", "postgres"]}})
    assert refused(partial(apply, agent, SECOND, returns=True)).code == "not_loaded"
    assert databases(machine) == {"n8n", "postgres"}


def test_what_fails_or_is_given_up_leaves_nothing(agent: DirectAgent, machine: Machine) -> None:
    [postgresql] = [name for name, one in machine.state["containers"].items() if one["service"] == "postgresql"]
    machine.fail(f"docker exec -i {postgresql} pg_restore --exit-on-error", "cannot be loaded")
    assert refused(partial(load, agent)).code == "restore_failed"
    machine.update(fail={})
    assert databases(machine) == {"n8n", "postgres"} and not agent.store.data_return()
    load(agent)
    do(agent, "end", operation=SECOND, outcome="abandoned")
    assert databases(machine) == {"n8n", "postgres"} and not agent.store.data_return()


def test_an_apply_without_it_leaves_what_this_operation_loaded(agent: DirectAgent, machine: Machine) -> None:
    load(agent)
    assert "kept" not in apply(agent, SECOND) and BESIDE in databases(machine)


def test_where_no_postgresql_is_to_run_it_waits(agent: DirectAgent, machine: Machine) -> None:
    load(agent)
    apply(agent, SECOND, returns=True)
    other_begins(agent)
    do(agent, "apply", **apply_document(THIRD, {"n8n": N8N}))
    assert agent.store.data_return()["state"] == "swapped" and BEFORE in databases(machine)


def test_a_database_that_does_not_answer_starts_nobody_else(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DATABASE_PATIENCE", 0.0)
    load(agent)
    monkeypatch.setattr(loading, "_says", lambda agent, container: "it starts up")
    error = refused(partial(apply, agent, SECOND, returns=True))
    assert (error.code, "it starts up" in error.message) == ("apply_failed", True)
    assert databases(machine) == {"n8n", BESIDE, "postgres"}


def test_a_database_without_a_container_is_waited_for(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(agent)
    seen: Iterator[dict[str, Any]] = iter([{}, {}])
    containers = type(agent).containers
    monkeypatch.setattr(loading, "compose_up", lambda *words: monkeypatch.setattr(agent, "containers", again))

    def again() -> Any:
        return next(seen, None) or containers(agent)

    assert apply(agent, SECOND, returns=True)["restored"] == CHECKPOINT


def test_clients_of_the_database_stop_with_n8n(agent: DirectAgent, machine: Machine) -> None:
    gate = gate_document(SECOND, IMAGES, {"postgresql": 1, "n8n": 2})
    services = {**gate["services"], "app": {**gate["services"]["n8n"], "depends_on": ["postgresql"]}}
    agent.probes_file.parent.mkdir(parents=True, exist_ok=True)
    agent.probes_file.write_text(json.dumps({"services": services}))
    assert [one.service for one in loading._clients(agent)] == ["n8n"]


def test_another_key_of_n8n_is_refused(agent: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    about = agent.store.checkpoints / CHECKPOINT / "checkpoint.json"
    (agent.home / "n8n.env").write_text("N8N_ENCRYPTION_KEY=one\n")
    told = n8n_key.key_fingerprint(agent)
    assert len(told) == 16 and "one" not in told
    about.write_text(json.dumps({**json.loads(about.read_text()), "n8n_key": "0" * 16}))
    assert refused(partial(load, agent)).code == "other_key"
    about.write_text(json.dumps({**json.loads(about.read_text()), "n8n_key": told}))
    assert load(agent)["loaded"] == ["n8n"]
