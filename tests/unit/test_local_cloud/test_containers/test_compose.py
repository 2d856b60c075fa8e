from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.containers import labels
from geusemaker.local_cloud.containers.compose import Project, config_hash, create_arguments, load, parse_size
from geusemaker.local_cloud.containers.interpolation import ComposeError, interpolate, parse_env


def read(folder: Path, document: dict[str, Any], variables: dict[str, str] | None = None) -> Project:
    file = folder / "compose.json"
    file.write_text(json.dumps(document))
    return load(file, None, None, variables or {}, lambda text: pytest.fail(text))


def service(**more: object) -> dict[str, Any]:
    return {"name": "demo", "services": {"web": {"image": "n8nio/n8n:1", **more}}}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A-${A}", "1-1"),
        ("${A:-x}${EMPTY:-x}${EMPTY-x}${NONE-x}", "1xx"),
        ("${NONE:-${A}}", "1"),
        ("${A:+x}${EMPTY:+x}${NONE+x}", "x"),
        ("$$A", "$A"),
        ("${NONE:-}/mnt", "/mnt"),
    ],
)
def test_interpolation(text: str, expanded: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}, lambda _: None) == expanded


def test_a_variable_that_is_not_set_is_reported_and_empty() -> None:
    missing: list[str] = []
    assert interpolate("a${B}c", {}, missing.append) == "ac"
    assert missing == ["B"]


def test_a_required_variable_is_demanded() -> None:
    with pytest.raises(ComposeError, match="required variable B is missing a value: set it"):
        interpolate("${B:?set it}", {}, lambda _: None)


@given(st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"])))
def test_text_without_dollars_is_left_alone(text: str) -> None:
    assert interpolate(text, {}, lambda _: None) == text


def test_env_files_are_read_as_compose_reads_them() -> None:
    text = "# comment\n\nA=plain # comment\nB='li$A ral'\nC=\"two\\nlines $A\"\nD=a#b\nE=\nF='it\\'s'\n"
    assert parse_env(text) == {
        "A": "plain",
        "B": "li$A ral",
        "C": "two\nlines plain",
        "D": "a#b",
        "E": "",
        "F": "it's",
    }


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="'\\")))
def test_single_quotes_keep_any_secret_as_it_is(secret: str) -> None:
    assert parse_env(f"KEY='{secret}'\nOTHER=1\n") == {"KEY": secret, "OTHER": "1"}


@pytest.mark.parametrize("text", ["KEY='open", '="x"', "k k=1\n'"])
def test_a_broken_env_file_is_refused(text: str) -> None:
    with pytest.raises(ComposeError):
        parse_env(text)


@pytest.mark.parametrize(("text", "size"), [("512m", 512 << 20), ("1g", 1 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_service_becomes_the_engine_s_arguments(tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("SECRET='s$1'\nPORT=1\n")
    project = read(
        tmp_path,
        service(
            env_file=["./web.env"],
            environment={"PORT": "2", "DEBUG": "true"},
            ports=["${LOOPBACK:-127.0.0.1}:5678:5678", "9000:9001"],
            volumes=["${ROOT:-}/mnt/efs/n8n:/home/node/.n8n", "/here:/x:ro"],
            labels={"a": "b"},
            restart="unless-stopped",
            mem_limit="512m",
            shm_size="1g",
            stop_grace_period="60s",
        ),
        {"ROOT": "/disk"},
    )
    config, host = create_arguments(project, "web", "sha256:1")
    assert dict(entry.split("=", 1) for entry in config["Env"]) == {"SECRET": "s$1", "PORT": "2", "DEBUG": "true"}
    assert config["StopTimeout"] == 60
    assert (
        config["Labels"].items()
        >= {
            "a": "b",
            labels.PROJECT: "demo",
            labels.COMPOSE_SERVICE: "web",
            labels.IMAGE: "sha256:1",
        }.items()
    )
    assert host["PortBindings"] == {
        "5678/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5678"}],
        "9001/tcp": [{"HostIp": "", "HostPort": "9000"}],
    }
    assert host["Binds"] == ["/disk/mnt/efs/n8n:/home/node/.n8n:rw", "/here:/x:ro"]
    assert host["RestartPolicy"] == "unless-stopped"
    assert (host["Memory"], host["ShmSize"]) == (512 << 20, 1 << 30)


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"A": "2"}},
        {"mem_limit": "64m"},
        {"labels": {"io.geusemaker.image": "x"}},
        {"logging": {"driver": "json-file"}},
    ],
)
def test_what_counts_as_a_change_of_a_service(tmp_path: Path, change: dict[str, Any]) -> None:
    before = config_hash(read(tmp_path, service()).services["web"])
    assert config_hash(read(tmp_path, service(**change)).services["web"]) != before


def test_an_env_file_s_content_counts_as_a_change(tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("A=1\n")
    before = config_hash(read(tmp_path, service(env_file=["web.env"])).services["web"])
    (tmp_path / "web.env").write_text("A=2\n")
    assert config_hash(read(tmp_path, service(env_file=["web.env"])).services["web"]) != before


@pytest.mark.parametrize(
    ("document", "message", "code"),
    [
        (service(colour="red"), "services.web Additional property colour is not allowed", 15),
        ({"name": "demo", "services": {"web": {}}}, "neither an image nor a build context", 15),
        (service(env_file=["gone.env"]), "gone.env not found", 14),
        (service(volumes=["data:/x"]), "invalid volume specification: data:/x", 15),
        (service(ports=["x:y"]), "invalid containerPort", 15),
        ({"name": "No Good", "services": {}}, 'invalid project name "No Good"', 15),
        ({"servces": {}}, "Additional property servces is not allowed", 15),
        (service(restart="sometimes"), "unknown policy 'sometimes'", 15),
        (service(mem_limit="much"), "invalid size: much", 15),
        (service(stop_grace_period="soon"), "invalid duration: soon", 15),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, document: dict[str, Any], message: str, code: int
) -> None:
    with pytest.raises(ComposeError, match=message) as raised:
        read(tmp_path, document)
    assert raised.value.exit_code == code


def test_yaml_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  web: {}\n")
    with pytest.raises(ComposeError, match="JSON compose files only"):
        load(file, None, None, {}, lambda _: None)


def test_the_compose_file_of_every_service_is_understood(tmp_path: Path) -> None:
    from geusemaker.catalog import SERVICES
    from geusemaker.models.image import ImageReference
    from geusemaker.models.site import Site
    from geusemaker.models.stack import InstanceFacts, ServiceConfig, StackConfig
    from geusemaker.program.compose import render

    services = {name: ServiceConfig(image=ImageReference.parse(known.image)) for name, known in SERVICES.items()}
    config = StackConfig(services=services, instance=InstanceFacts(gpus=1))
    for service_name in services:
        (tmp_path / f"{service_name}.env").write_text("A='b'\n")
    project = read(
        tmp_path,
        render(config, data_volume=False, site=Site(domains={"n8n": "n8n.example.com"})),
        {"GEUSEMAKER_INSTANCE_ROOT": "/r", "GEUSEMAKER_LOOPBACK": "127.9.9.9"},
    )
    assert set(project.services) == set(services)
    for name in project.services:
        _, host = create_arguments(project, name, "sha256:1")
        assert all(b["HostIp"] == "127.9.9.9" for bindings in host["PortBindings"].values() for b in bindings)
        gpus = [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]
        assert host["DeviceRequests"] == (gpus if name == "ollama" else [])
