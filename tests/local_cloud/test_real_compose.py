"""What the real Compose makes of our files, and whether the stand-in makes the same of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geusemaker.agent.env_files import env_file
from geusemaker.agent.project import compose_text
from geusemaker.catalog import SERVICES
from geusemaker.local_cloud.containers.compose import ComposeError, load
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceConfig, ServiceName, StackConfig
from geusemaker.program.compose import expanded, render
from tests.local_cloud.real_compose import RealCompose, find_or_build
from tests.unit.samples import DIGEST

# Every character that a variable can hold, those that some parser means something by more often than others.
_VALUES = st.text(
    st.one_of(
        st.sampled_from("$${}:-+?\\'\"#=ab_ \n\r\t\x1b\x7f\x85\u2028\ufeff😀"),
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    ),
    max_size=12,
)
_HARD = ["pa$word", "pa${word", "$$", "5$", "${A:-b}", "\\", "\\n", "\\$a", "'", '"', "\r\n", r"\ud83d\ude00", "😀", ""]
_TEMPLATES = st.text(st.sampled_from("$${}}:-+?ABu_1 ."), min_size=1, max_size=14)
_SET = {"A": "one", "B": ""}


@pytest.fixture(scope="module")
def compose() -> RealCompose:
    """The real Compose."""
    return find_or_build()


def _write(folder: Path, values: list[str], secrets: list[str], rendering: int) -> None:
    images: dict[ServiceName, ImageReference] = {
        name: ImageReference.parse(SERVICES[name].image).pinned(DIGEST) for name in ("postgresql", "n8n")
    }
    environment: dict[ServiceName, dict[str, str]] = {"n8n": {f"V{index}": text for index, text in enumerate(values)}}
    services = {
        name: ServiceConfig(image=image, environment=environment.get(name, {})) for name, image in images.items()
    }
    project = render(StackConfig(services=services, rendering=rendering), data_volume=True)
    (folder / "compose.json").write_text(compose_text(project))
    for name in images:
        (folder / f"{name}.env").write_text(env_file({f"S{index}": text for index, text in enumerate(secrets)}))


def _read(found: dict[str, str]) -> dict[str, str]:
    # `config` prints what could be read again, so it escapes.
    return {key: text.replace("$$", "$") for key, text in found.items() if key[0] in "SV" and key[1:].isdigit()}


def _stand_in(folder: Path, variables: dict[str, str]) -> dict[str, dict[str, Any]]:
    return load(folder / "compose.json", "geusemaker", folder, variables, lambda _: None).services


@settings(max_examples=60)
@example(_HARD, _HARD)
@given(st.lists(_VALUES, max_size=12), st.lists(_VALUES, max_size=12))
def test_what_goes_in_comes_out(compose: RealCompose, values: list[str], secrets: list[str]) -> None:
    wanted = {f"V{index}": text for index, text in enumerate(values)}
    wanted |= {f"S{index}": text for index, text in enumerate(secrets)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, values, secrets, rendering=2)
        service = compose.config(folder, {**_SET, "S0": "another"})["n8n"]
        assert _read(service["environment"]) == wanted
        assert service["logging"] == {"driver": "json-file", "options": {"max-file": "5", "max-size": "20m"}}
        stand_in = _stand_in(folder, {**_SET, "S0": "another"})["n8n"]
        assert {key: text for key, text in stand_in["environment"].items() if key in wanted} == wanted


@settings(max_examples=150)
@example("pa${word")
@example("$A${B:-$A}}")
@example("${A")
@example("${}")
@example("${1}")
@example("${C:?no}")
@given(_TEMPLATES)
def test_the_stand_in_expands_and_refuses_what_the_real_one_does(compose: RealCompose, template: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, [template], [], rendering=1)
        try:
            real = _read(compose.config(folder, _SET)["n8n"]["environment"])["V0"]
        except subprocess.CalledProcessError as refused:
            with pytest.raises(ComposeError) as error:
                _stand_in(folder, _SET)
            assert str(error.value).splitlines()[0] in refused.stderr
            return
        assert _stand_in(folder, _SET)["n8n"]["environment"]["V0"] == real


@settings(max_examples=60)
@given(_TEMPLATES)
def test_what_the_first_rendering_made_of_a_value_is_told_as_compose_makes_it(
    compose: RealCompose, template: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, [template], [], rendering=1)
        try:
            real = _read(compose.config(folder)["n8n"]["environment"])["V0"]
        except subprocess.CalledProcessError:
            real = template  # refused: it never was anything
        assert expanded(template) == real or "${" in template


def test_the_golden_files_are_what_compose_reads(compose: RealCompose, tmp_path: Path) -> None:
    for number in ("1", "2"):
        golden = Path(__file__).parents[1] / "unit/test_program/renderings" / f"{number}-compose.json"
        folder = tmp_path / number
        folder.mkdir()
        (folder / "compose.json").write_bytes(golden.read_bytes())
        for name in ("postgresql", "n8n", "crawl4ai"):
            (folder / f"{name}.env").write_text("")
        environment = compose.config(folder)["n8n"]["environment"]
        assert environment["N8N_SMTP_PASS"].replace("$$", "$") == {"1": "pa", "2": "pa$word"}[number]
        assert set(compose.config(folder)) == set(json.loads(golden.read_text())["services"])
