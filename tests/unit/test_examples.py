"""The pipelines of ``examples/``: what their YAML may do, and that it calls what is there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
ACTION = EXAMPLES / "github" / "action.yml"
SCRIPTS = EXAMPLES / "github" / "scripts"
WORKFLOWS = sorted((EXAMPLES / "github" / "workflows").glob("*.yml"))
GITLAB = EXAMPLES / "gitlab-ci.yml"
PLACES = {
    # Where the scripts are in the repository of who uses them.
    '"$GITHUB_ACTION_PATH/scripts/': ACTION,
    ".github/actions/geusemaker/scripts/": ACTION,
    "ci/geusemaker/": GITLAB,
}
RIGHTS = {
    "plan": {"contents": "read", "id-token": "write", "pull-requests": "write"},
    "apply": {"contents": "read", "id-token": "write"},
    "recover": {"contents": "read", "id-token": "write"},
}


def read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def steps(file: Path) -> list[dict[str, Any]]:
    """The steps of an action or of all jobs of a workflow."""
    document = read(file)
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job["steps"]]


def typed() -> Iterator[tuple[str, str]]:
    """(file's name, what it has a shell run)."""
    for file in [ACTION, *WORKFLOWS]:
        yield from ((file.name, step["run"]) for step in steps(file) if "run" in step)
    for name, job in read(GITLAB).items():
        if name != "variables":
            yield from ((GITLAB.name, line) for line in [*job.get("before_script", ()), *job.get("script", ())])


@pytest.mark.parametrize(("file", "line"), sorted(set(typed())))
def test_a_shell_is_given_a_script_that_is_there_and_nothing_else(file: str, line: str) -> None:
    """No expression is put into a line for a shell: a branch's or a title's text could be a command there."""
    found = re.fullmatch(rf"bash ({'|'.join(map(re.escape, PLACES))})([a-z0-9-]+\.sh)\"?", line)
    assert found is not None, line
    assert (SCRIPTS / found[2]).is_file()


def test_each_script_is_called_and_reads_as_a_script() -> None:
    called = {line.rpartition("/")[2].rstrip('"') for _, line in typed()}
    inside = {"smoke-test.sh", "n8n-answers.sh"}  # by apply.sh, and as the smoke test of the examples
    assert called | inside == {script.name for script in SCRIPTS.iterdir()}
    for script in SCRIPTS.iterdir():
        assert os.access(script, os.X_OK) and script.read_text().startswith("#!/usr/bin/env bash\n# ")
        assert "set -euo pipefail" in script.read_text()
        subprocess.run(["bash", "-n", script], check=True)
    smoke_tests = {step["with"]["smoke-test"] for step in steps(WORKFLOWS[0]) if "smoke-test" in step.get("with", {})}
    assert smoke_tests == {".github/actions/geusemaker/scripts/n8n-answers.sh"}
    assert read(GITLAB)["apply"]["variables"]["SMOKE_TEST"] == "ci/geusemaker/n8n-answers.sh"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_has_the_rights_that_it_needs_and_no_other(file: Path) -> None:
    document = read(file)
    assert document["permissions"] == {}
    [job] = document["jobs"].values()
    assert job["permissions"] == RIGHTS[file.stem]
    assert job["environment"] == ("plan" if file.stem == "plan" else "prod") and job["timeout-minutes"] <= 120
    # YAML 1.1 reads `on` as a truth value, which GitHub does not.
    triggers = {str(key): value for key, value in document.items()}["True"]
    assert "pull_request_target" not in triggers, "code of a fork would get the secrets"
    changes = file.stem != "plan"
    assert document["concurrency"]["cancel-in-progress"] is not changes
    # GitHub drops what waits in a group for whatever else comes to wait there.
    assert document["concurrency"]["group"].startswith(f"{file.stem}-")


@pytest.mark.parametrize("file", [ACTION, *WORKFLOWS], ids=lambda file: file.stem)
def test_actions_of_others_are_pinned_by_commit_with_their_release_beside_it(file: Path) -> None:
    used = re.findall(r"^\s*- uses: (.+)$", file.read_text(), re.MULTILINE)
    assert len(used) >= 2
    for action in used:
        assert action == "./.github/actions/geusemaker" or re.fullmatch(
            r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action
        ), action


@pytest.mark.parametrize("file", [ACTION, *WORKFLOWS], ids=lambda file: file.stem)
def test_what_the_action_is_given_is_what_it_takes(file: Path) -> None:
    inputs = read(ACTION)["inputs"]
    needed = {name for name, declared in inputs.items() if declared.get("required")}
    for step in steps(file):
        if step.get("uses") == "./.github/actions/geusemaker":
            assert needed <= set(step["with"]) <= set(inputs)
            assert step["with"]["step"] == file.stem
    taken = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}|inputs\.(step)", ACTION.read_text()))
    assert {one or other for one, other in taken} == set(inputs)


def test_secrets_go_into_the_environment_of_what_needs_them_alone() -> None:
    """In argv every process of the machine could read them."""
    for file in [ACTION, *WORKFLOWS]:
        for step in steps(file):
            assert "secrets." not in step.get("run", "") and "secrets." not in str(step.get("env", {}))
            if "secrets." in str(step):
                assert step["uses"] == "./.github/actions/geusemaker"
    for step in steps(ACTION):
        verbs = ("plan.sh", "apply.sh", "recover.sh")
        assert ("PULUMI_CONFIG_PASSPHRASE" in step.get("env", {})) is step.get("run", "").rstrip('"').endswith(verbs)
    for script in SCRIPTS.iterdir():
        code = "\n".join(line for line in script.read_text().splitlines() if not line.startswith("#"))
        assert "PASSPHRASE" not in code and "GH_TOKEN" not in code, "what needs them reads them from its environment"
        # `printf` is the shell's own: no process is given the token.
        assert ("AWS_TOKEN" in code) is (script.name == "web-identity.sh")


def test_gitlab_runs_changes_one_after_the_other_and_cancels_none() -> None:
    jobs = read(GITLAB)
    for name in ("apply", "recover"):
        assert (jobs[name]["resource_group"], jobs[name]["interruptible"]) == ("prod", False)
    assert {job["extends"] for name, job in jobs.items() if name in RIGHTS} == {".geusemaker"}


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A script, as a job runs it; programs of ``folder / "bin"`` are found before others."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", SCRIPTS / script],
        env={"PATH": path, "HOME": str(folder), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def program(folder: Path, name: str, text: str) -> None:
    """A stand-in on PATH."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\nset -eu\n{text}\n")
    (folder / "bin" / name).chmod(0o755)


# GitHub's comments as files; gh is given what it would ask GitHub for, and answers with the id that there is.
GH = """
printf '%s\\n' "$*" >>"$HOME/typed"
case "$*" in
  "api --paginate repos/acme/shop/issues/7/comments --jq "*) if [ -e "$HOME/comment" ]; then echo 77; fi ;;
  "api --method PATCH repos/acme/shop/issues/comments/77 --field body=@"*) cp "${6#body=@}" "$HOME/comment" ;;
  "pr comment 7 --repo acme/shop --body-file "*) cp "$7" "$HOME/comment"; echo made >>"$HOME/made" ;;
  *) exit 9 ;;
esac
"""


def test_a_plan_is_one_comment_which_the_next_plan_writes_over(tmp_path: Path) -> None:
    program(tmp_path, "gh", GH)
    github = {"GITHUB_REPOSITORY": "acme/shop", "PULL_REQUEST": "7", "DEPLOYMENT": "prod", "GH_TOKEN": "t0ken"}
    missing = run("comment.sh", tmp_path, **github)
    assert missing.returncode == 1 and "There is no plan" in missing.stderr
    for plan in ("### first\n", "### second\n", "x" * 70_000):
        (tmp_path / "plan.md").write_text(plan)
        done = run("comment.sh", tmp_path, **github)
        assert done.returncode == 0, done.stderr
        mark, text = (tmp_path / "comment").read_text().split("\n", 1)
        assert mark == "<!-- geusemaker plan of prod -->"
        too_long = "The plan is too long for a comment: it is in the job's summary.\n"
        assert text == (plan if len(plan) < 60_000 else too_long)
    assert (tmp_path / "made").read_text() == "made\n", "there is one comment"
    assert "t0ken" not in (tmp_path / "typed").read_text()
    assert 'select(.user.login == "github-actions[bot]")' in (tmp_path / "typed").read_text()


def test_what_is_installed_is_what_was_pinned_and_an_engine(tmp_path: Path) -> None:
    for name in ("pip", "geusemaker"):
        program(tmp_path, name, f'echo "{name} $*" >>"$HOME/typed"')
    assert run("install.sh", tmp_path, GEUSEMAKER="geusemaker==1.2.3").returncode == 0
    assert (tmp_path / "typed").read_text().splitlines() == [
        "pip install --quiet --disable-pip-version-check geusemaker==1.2.3",
        "geusemaker doctor --get-engine",
    ]


def test_a_token_is_where_aws_tools_look_for_it_and_nobody_else_reads_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    done = run("web-identity.sh", tmp_path, AWS_TOKEN="a.b.c", AWS_WEB_IDENTITY_TOKEN_FILE=str(token))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("a.b.c", 0o600)


@pytest.mark.parametrize("code", [0, 1, 4, 6])
def test_a_scheduled_recover_hides_no_failure(code: int, tmp_path: Path) -> None:
    """Nor that the deployment is held: a job that was lost looks like one that runs."""
    program(tmp_path, "geusemaker", f'echo "### $*"; exit {code}')
    done = run("recover.sh", tmp_path, DEPLOYMENT="prod", GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert done.returncode == code
    assert (tmp_path / "summary").read_text() == "### recover prod --yes --wait-lock 45m --output markdown\n"


# A deployment whose active version is a number in a file: what the scripts do about each way that it can end.
GEUSEMAKER = r"""
echo "$1" >>"$HOME/typed"
case $1 in
  inspect) printf '{\n  "deployment": "prod",\n  "active_version": %s,\n}\n' "$(cat "$HOME/active")" ;;
  update) echo "### update"; echo "${MAKES:-4}" >"$HOME/active"; exit "${UPDATE:-0}" ;;
  tunnel) [ -z "${NO_WAY:-}" ] || { printf '{\n  "error_message": "no way"\n}\n'; exit 1; }
    printf '{\n  "addresses": {\n    "n8n": "http://localhost:5678"\n  },\n  "silent": []\n}\n'; exec sleep 600 ;;
  rollback) echo "### rollback"; exit "${ROLLBACK:-0}" ;;
esac
"""


@pytest.mark.parametrize(
    ("happens", "code", "tried", "says"),
    [
        ({}, 0, True, "The smoke test passed on v4."),
        ({"UPDATE": "3"}, 3, False, "### update"),
        ({"UPDATE": "5"}, 5, False, "### update"),
        ({"NO_WAY": "1"}, 4, False, "could not be tried out"),
        ({"SMOKE": "8"}, 3, True, "### rollback"),
        ({"SMOKE": "1", "ROLLBACK": "5"}, 4, True, "### rollback"),
        ({"SMOKE": "1", "MAKES": "3"}, 1, True, "there is nothing to take back"),
        ({"SMOKE": "1", "SOMEBODY": "5"}, 4, True, "it is left to them"),
    ],
)
def test_how_applying_ends(happens: dict[str, str], code: int, tried: bool, says: str, tmp_path: Path) -> None:
    program(tmp_path, "geusemaker", GEUSEMAKER)
    program(
        tmp_path,
        "smoke",
        'echo "$1" >"$HOME/tried"; [ -z "${SOMEBODY:-}" ] || echo "$SOMEBODY" >"$HOME/active"; exit "${SMOKE:-0}"',
    )
    (tmp_path / "active").write_text("3\n")
    done = run("apply.sh", tmp_path, DEPLOYMENT="prod", STACK_FILE="stack.yaml", SMOKE_TEST="smoke", **happens)
    summary = (tmp_path / "summary.md").read_text()
    assert done.returncode == code, (done.stdout, done.stderr, summary)
    assert says in summary.splitlines()[-1]
    assert (tmp_path / "tried").exists() is tried
    assert not tried or (tmp_path / "tried").read_text() == "http://localhost:5678\n"
    assert ("rollback" in (tmp_path / "typed").read_text()) is ("rollback" in says)


def test_without_a_smoke_test_nothing_is_tried_out(tmp_path: Path) -> None:
    program(tmp_path, "geusemaker", GEUSEMAKER)
    (tmp_path / "active").write_text("3\n")
    assert run("apply.sh", tmp_path, DEPLOYMENT="prod", STACK_FILE="stack.yaml").returncode == 0
    assert (tmp_path / "typed").read_text().split() == ["inspect", "update", "inspect"]
