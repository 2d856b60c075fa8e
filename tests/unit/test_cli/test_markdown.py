"""Markdown for pipelines: whatever a text is, it stays where it was put, and shows itself and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import Result

from geusemaker.cli.output.markdown.pieces import bullets, document, fenced, heading, prose, table
from geusemaker.cli.output.text import one_line
from geusemaker.errors import PlanRefusedError
from geusemaker.models.plan import CheckResult, ConfigChange
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace, rollback_plan

Run = Callable[..., Result]

# CommonMark with what GitHub adds to it (https://github.github.com/gfm/), as far as a parser here has it.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
INERT = {"text", "html_inline", "text_special"}
OURS = {"<code>", "</code>", "<!-- -->"}
HOSTILE = [
    "a | b",
    "a \\| b \\",
    "line\nbreak\r\n| x |",
    "`a | b`",
    "`` ` ``",
    "<img src=x onerror=alert(1)>",
    "</table><script>",
    "<!-- x",
    "&lt;b&gt; &#124;",
    "![i](http://x/y.png) [l](javascript:x)",
    "**bold** _it_ ~~gone~~ $x^2$ $$y$$",
    "@somebody please, #1, GH-12, owner/repo#3, !4",
    "mail bob@example.com or http://example.com www.example.com",
    ":tada: n8nio/n8n:2.43.3@sha256:00ff",
    "# heading #",
    "- list",
    "1. list",
    "12) list",
    "> quotation",
    "---",
    "===",
    "```",
    "[ ] task",
    "\u202egnirts\u2028next",
    "",
]
ANY = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="|\\`*_~[]()<>!#@&;:$-+=.0aw\n\t ", max_size=30),
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), max_size=3).map(" ".join),
)


def shown(tokens: Sequence[Token]) -> str:
    """The text that a reader sees of inline tokens, which must all be text or signs of ours."""
    for token in tokens:
        assert token.type in INERT and (token.type != "html_inline" or token.content in OURS), token
    return "".join(token.content for token in tokens if token.type != "html_inline")


def said(text: str) -> str:
    """What is to be seen of a text: one line, and of what stands in backticks as commands do, the inside."""
    return re.sub(r"`([^`\s](?:[^`]*[^`\s])?)`", r"\1", " ".join(one_line(text).split()))


def parsed(markdown: str, *types: str) -> list[str]:
    """The texts of all inline pieces, in a document of exactly these blocks."""
    tokens = PARSER.parse(markdown)
    assert [token.type for token in tokens] == [*types], markdown
    return [shown(token.children or []) for token in tokens if token.type == "inline"]


def cells(markdown: str) -> list[list[str]]:
    """The one table's cells, row by row."""
    rows: list[list[str]] = []
    tokens = PARSER.parse(markdown)
    assert (tokens[0].type, tokens[-1].type) == ("table_open", "table_close"), markdown
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(shown(token.children or []))
    return rows


@given(st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=4))
def test_any_text_in_a_cell_stays_one_cell_and_shows_itself(rows: list[tuple[str, str, str]]) -> None:
    kept = [at for at in range(3) if any(row[at] not in ("", "-") for row in rows)]
    made = table(("a", "b", "c"), rows)
    if not kept:
        assert made == ""
        return
    assert cells(made) == [["abc"[at] for at in kept], *([said(row[at]) for at in kept] for row in rows)]


@given(ANY)
def test_any_text_stays_one_heading_one_item_and_one_paragraph(text: str) -> None:
    assert parsed(heading(text), "heading_open", "inline", "heading_close") == [said(text)]
    if said(text):
        assert parsed(prose(text), "paragraph_open", "inline", "paragraph_close") == [said(text)]
        around = ("paragraph_open", "inline", "paragraph_close", "list_item_close")
        item = parsed(bullets([text]), "bullet_list_open", "list_item_open", *around, "bullet_list_close")
        assert item == [said(text)]


@given(st.lists(ANY, max_size=5))
def test_no_line_closes_a_fence(lines: list[str]) -> None:
    [fence] = PARSER.parse(fenced(lines, "diff"))
    assert (fence.type, fence.info) == ("fence", "diff")
    assert fence.content == "".join(f"{one_line(text)}\n" for text in lines)


@given(ANY)
def test_nobody_is_mentioned_and_nothing_is_linked(text: str) -> None:
    """What GitHub and GitLab look for in the text itself, after Markdown was made of it: each stands in one node."""
    for token in PARSER.parseInline(prose(text))[0].children or []:
        if token.type != "html_inline":
            found = re.search(r"[@#!]\w|://|:[\w+-]+:|\bwww\.|\bGH-\d", token.content, re.IGNORECASE)
            assert found is None, (token.content, prose(text))


def test_commands_are_code_and_columns_of_nothing_are_left_out() -> None:
    assert prose("Run `geusemaker status prod`.") == "Run <code>geusemaker status prod</code>."
    assert table(("", "what", "why"), [("", "n8n", "-"), ("", "qdrant", "")]) == "| what |\n|---|\n| n8n |\n| qdrant |"
    assert document("a", "", "b") == "a\n\nb\n"


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


class TestVerbs:
    def test_a_dry_run_is_one_document_and_the_plan_is_in_it(self, run: Run, prod: FakeDeployment) -> None:
        result = run("rollback", "prod", "--dry-run", "-o", "markdown")
        assert result.exit_code == 0
        assert "### rollback prod: v3 → v4 (config of v2) (local cloud)" in result.stdout.splitlines()
        assert "| config | now → then |" in result.stdout.splitlines()
        assert "dry run, nothing was changed" in result.stdout.splitlines()[0]
        assert "rollback prod: v3 → v4" in result.stderr, "who watches the job sees the plan as text"

    @pytest.mark.parametrize("verb", ["deploy", "update", "rollback", "recover"])
    def test_an_outcome_is_one_document(self, verb: str, run: Run, prod: FakeDeployment) -> None:
        result = run(verb, "prod", "--yes", "--output=markdown")
        assert result.exit_code == 0
        assert result.stdout.startswith("### prod is ") and result.stdout.count("### prod") == 1
        assert "| service | is |" in result.stdout

    def test_what_is_refused_tells_its_plan_and_what_to_type(self, run: Run, prod: FakeDeployment) -> None:
        failing = CheckResult(name="disk", status="fail", detail="1 GiB free | 4 GiB needed")
        prod.plan = rollback_plan(checks=(failing,))
        prod.error_after_plan = PlanRefusedError(
            "The plan is refused.", state="Nothing was changed.", next_step="Run `geusemaker status prod`."
        )
        result = run("rollback", "prod", "--yes", "-o", "markdown")
        assert result.exit_code == 5
        assert result.stdout.startswith("### rollback prod failed\n\nThe plan is refused.\n")
        assert "- next: Run <code>geusemaker status prod</code>." in result.stdout.splitlines()
        assert "| fail | disk | 1 GiB free &#124; 4 GiB needed |" in result.stdout.splitlines()

    def test_secrets_are_as_hidden_as_elsewhere(self, run: Run, prod: FakeDeployment) -> None:
        prod.plan = rollback_plan(changes=(ConfigChange(path="n8n.env.API_KEY", old="(secret)", new="(secret)"),))
        for line in (("rollback", "prod", "--dry-run"), ("history", "prod"), ("status", "prod"), ("diff", "prod")):
            told = run(*line, "-o", "markdown").stdout
            assert told and "hunter2" not in told

    def test_history_and_status(self, run: Run, prod: FakeDeployment) -> None:
        history = run("history", "prod", "-o", "markdown").stdout
        assert history.startswith("### prod: 4 versions, v4 is active (local cloud)\n")
        wide = run("history", "prod", "--all-columns", "-o", "markdown").stdout
        assert "#### Rollbacks\n\n| when | who | trigger |" in wide
        status = run("status", "prod", "--updates", "-o", "markdown").stdout
        assert status.startswith("### prod: healthy, v4 is active (local cloud)\n") and "#### Updates" in status

    @pytest.mark.parametrize(
        "line",
        [
            "list",
            "inspect prod",
            "info prod",
            "destroy prod --yes",
            "history prod --html h.html",
            "recover prod --every 5m",
        ],
    )
    def test_where_it_makes_no_sense_it_is_refused_by_name(self, line: str, run: Run, prod: FakeDeployment) -> None:
        result = run(*line.split(), "--output", "markdown")
        assert result.exit_code == 2 and "markdown" in result.output
        assert prod.requests == []
