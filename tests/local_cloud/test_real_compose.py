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
from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.local_cloud.containers.compose import load
from geusemaker.local_cloud.containers.interpolation import ComposeError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService, OwnVolume
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
    for number in ("1", "2", "3"):
        golden = Path(__file__).parents[1] / "unit/test_program/renderings" / f"{number}-compose.json"
        folder = tmp_path / number
        folder.mkdir()
        (folder / "compose.json").write_bytes(golden.read_bytes())
        for name in ("postgresql", "n8n", "crawl4ai", "qdrant"):
            (folder / f"{name}.env").write_text("")
        environment = compose.config(folder)["n8n"]["environment"]
        assert environment["N8N_SMTP_PASS"].replace("$$", "$") == ("pa" if number == "1" else "pa$word")
        assert set(compose.config(folder)) == set(json.loads(golden.read_text())["services"])


def test_walls_are_read_as_they_were_asked_for(compose: RealCompose, tmp_path: Path) -> None:
    """By the real one and by the stand-in."""
    services = {name: ServiceConfig(image=ImageReference.parse(SERVICES[name].image)) for name in SERVICE_NAMES}
    asked = render(StackConfig(services=services, rendering=3), data_volume=True)
    (tmp_path / "compose.json").write_text(compose_text(asked))
    for name in SERVICE_NAMES:
        (tmp_path / f"{name}.env").touch()
    real, stand_in = compose.config(tmp_path), _stand_in(tmp_path, {})
    for name, definition in asked["services"].items():
        assert sorted(real[name]["networks"]) == stand_in[name]["networks"] == definition["networks"]
        for key in ("cap_drop", "cap_add", "security_opt", "read_only", "tmpfs", "pids_limit"):
            assert real[name].get(key) == stand_in[name].get(key) == definition.get(key), (name, key)


def test_services_of_ones_own_are_read_as_they_were_asked_for(compose: RealCompose, tmp_path: Path) -> None:
    """By the real one and by the stand-in; nothing in them is a template but our own places."""
    words = ("sh", "-c", "echo $HOME ${X} 'a b'")
    own = OwnService(
        command=words, ports=("8080", "3000:80"), volumes=(OwnVolume(folder="data", path="/data"),), needs=("n8n",)
    )
    service = ServiceConfig(image=ImageReference.parse("redis:7.4.11"), environment={"A": "$B"}, own=own)
    services: dict[ServiceName, ServiceConfig] = {"redis": service} | {
        name: ServiceConfig(image=ImageReference.parse(SERVICES[name].image)) for name in ("postgresql", "n8n")
    }
    project = render(StackConfig(services=services, rendering=2), data_volume=True)
    (tmp_path / "compose.json").write_text(compose_text(project))
    for name in ("n8n", "postgresql"):
        (tmp_path / f"{name}.env").touch()
    variables = {"GEUSEMAKER_INSTANCE_ROOT": "/root", "GEUSEMAKER_LOOPBACK": "127.0.0.2"}
    real, stand_in = compose.config(tmp_path, variables)["redis"], _stand_in(tmp_path, variables)["redis"]
    assert [word.replace("$$", "$") for word in real["command"]] == stand_in["command"] == list(words)
    assert [(port["host_ip"], port["published"], port["target"]) for port in real["ports"]] == [
        ("127.0.0.2", "8080", 8080),
        ("127.0.0.2", "3000", 80),
    ]
    assert [(one["type"], one["source"], one["target"]) for one in real["volumes"]] == [
        ("bind", "/root/mnt/efs/own/redis/data", "/data")
    ]
    assert stand_in["volumes"] == ["/root/mnt/efs/own/redis/data:/data:rw"]
    assert not {"privileged", "network_mode", "devices", "cap_add", "pid", "ipc"} & real.keys()
