"""The verbs that reach a deployment: what is handed on, and what they end with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.errors import HostError
from tests.unit.test_cli.conftest import Run
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace

RunJson = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


class TestSsh:
    @pytest.mark.parametrize(
        ("args", "line"),
        [
            (["prod"], ""),
            ([], ""),
            (["--", "ls", "-l", "*.txt"], "ls -l *.txt"),
            (["prod", "--", "cd /tmp && ls"], "cd /tmp && ls"),
            (["prod", "--", "ls", "--help", "--debug", "--", "-o", "json"], "ls --help --debug -- -o json"),
        ],
    )
    def test_what_stands_after_the_dashes_is_handed_on_untouched(
        self, run: Run, prod: FakeDeployment, args: list[str], line: str
    ) -> None:
        result = run("ssh", *args)
        assert (result.exit_code, result.output) == (7, "")
        assert prod.requests == [("ssh", line, True)]

    def test_a_command_without_the_dashes_is_refused(self, run: Run, prod: FakeDeployment) -> None:
        assert run("ssh", "prod", "ls").exit_code == 2 and prod.requests == []

    @pytest.mark.parametrize("verb", [["ssh", "prod"], ["exec", "prod", "n8n", "--", "env"]])
    def test_an_instance_that_cannot_be_reached_is_no_exit_code_of_the_command(
        self, run: Run, prod: FakeDeployment, verb: list[str]
    ) -> None:
        prod.error = HostError("127.0.0.9:22 cannot be reached.", code="unreachable", next_step="Look.")
        result = run(*verb)
        assert (result.exit_code, result.stderr) == (255, "error: 127.0.0.9:22 cannot be reached.\nnext: Look.\n")

    def test_the_help_shows_where_the_command_goes(self, run: Run) -> None:
        assert "[NAME] -- COMMAND…" in run("ssh", "--help").stdout


class TestExec:
    @pytest.mark.parametrize("args", [["prod", "n8n"], ["n8n"]])
    def test_words_stay_words(self, run: Run, prod: FakeDeployment, args: list[str]) -> None:
        assert run("exec", *args, "--", "sh", "-c", "echo $HOME").exit_code == 127
        assert prod.requests == [("exec", "n8n", ["sh", "-c", "echo $HOME"], True)]

    @pytest.mark.parametrize("args", [["prod", "n8n"], ["prod", "n8n", "--"], ["--", "env"], []])
    def test_without_service_or_command_it_is_refused(self, run: Run, prod: FakeDeployment, args: list[str]) -> None:
        result = run("exec", *args)
        assert result.exit_code == 2 and "`geusemaker exec prod n8n -- env`" in result.stderr
        assert prod.requests == []


class TestTunnel:
    def test_the_addresses_are_told_and_ctrl_c_is_its_end(self, run: Run, prod: FakeDeployment) -> None:
        result = run("tunnel", "prod", "n8n", "qdrant")
        assert (result.exit_code, prod.opened.closed) == (0, True)
        assert prod.requests == [("tunnel", ("n8n", "qdrant"), None)]
        assert result.stdout.splitlines() == [
            "prod: the tunnel stands until you press Ctrl-C",
            "    n8n  http://localhost:5678",
            "    db   localhost:5432",
        ]
        assert re.fullmatch(r"\d\d:\d\d:\d\d  The connection was lost.\nThe tunnel is closed.\n", result.stderr)

    def test_a_silent_service_comes_with_what_to_type(self, run: Run, prod: FakeDeployment) -> None:
        prod.opened.silent = ("db",)
        assert run("tunnel").stdout.endswith("next: `geusemaker status prod` says why a service is silent.\n")
        assert prod.requests == [("tunnel", (), None)]

    def test_the_document_comes_when_it_stands(self, run_json: RunJson, prod: FakeDeployment) -> None:
        assert run_json("tunnel", "prod", "db", "--port", "15432") == (
            0,
            {
                "deployment": "prod",
                "addresses": {"n8n": "http://localhost:5678", "db": "localhost:5432"},
                "silent": [],
            },
        )
        assert prod.requests == [("tunnel", ("db",), 15432)]

    @pytest.mark.parametrize("port", ["0", "65536", "http"])
    def test_what_is_no_port_is_refused(self, run: Run, prod: FakeDeployment, port: str) -> None:
        assert run("tunnel", "prod", "n8n", "--port", port).exit_code == 2 and prod.requests == []


class TestOpen:
    @pytest.fixture(autouse=True)
    def one(self, prod: FakeDeployment) -> None:
        del prod.opened["db"]

    @pytest.fixture
    def pages(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What a browser was shown."""
        seen: list[str] = []
        monkeypatch.setenv("DISPLAY", ":0")

        def show(url: str) -> bool:
            seen.append(url)
            return True

        monkeypatch.setattr("webbrowser.open", show)
        return seen

    def test_the_page_opens_in_the_browser(self, run: Run, prod: FakeDeployment, pages: list[str]) -> None:
        result = run("open", "prod")
        assert (result.exit_code, pages) == (0, ["http://localhost:5678"])
        assert result.stdout.endswith("It opens in your browser.\n") and prod.opened.closed
        assert prod.requests == [("open", None, None)]

    def test_without_a_browser_the_address_is_told(
        self, run: Run, pages: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = "Open http://localhost:5678 in a browser here.\n"
        assert run("open", "prod", "qdrant", "--no-browser", "--port", "7000").stdout.endswith(told)
        monkeypatch.setattr("sys.platform", "linux")
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
            monkeypatch.delenv(name, raising=False)
        assert run("open", "prod").stdout.endswith(told)
        assert pages == []

    def test_a_document_opens_no_browser(self, run_json: RunJson, pages: list[str]) -> None:
        assert run_json("open", "prod")[1]["addresses"] == {"n8n": "http://localhost:5678"} and pages == []

    def test_no_browser_is_shown_a_service_that_does_not_answer(
        self, run: Run, prod: FakeDeployment, pages: list[str]
    ) -> None:
        prod.opened.silent = ("n8n",)
        result = run("open", "prod")
        assert (result.exit_code, pages, result.stdout) == (1, [], "")
        assert "n8n does not answer on the instance" in result.stderr and "`geusemaker status prod`" in result.stderr
