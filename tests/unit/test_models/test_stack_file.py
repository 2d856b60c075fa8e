"""A stack file: what it says, what it must not hold, and that each field of a config is in it."""

from __future__ import annotations

import io
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model
from geusemaker.models.own import OwnProbe, OwnService, OwnVolume
from geusemaker.models.stack import ServiceConfig, StackConfig, Target
from geusemaker.models.stack_file import StackFile
from geusemaker.models.stack_file.parts import StackFileFacts, StackFileService, StackFileSettings
from geusemaker.models.stack_file.text import LIMIT_BYTES, read_yaml, write_yaml
from tests.unit.samples import DIGEST, config, target
from tests.unit.test_models.test_fields import FIELDS, with_other

WHOLE = config().model_copy(
    update={
        "services": {
            "postgresql": config().services["postgresql"],
            "n8n": ServiceConfig(
                image=f"n8nio/n8n:2.43.3@{DIGEST}",  # type: ignore[arg-type]
                environment={"A": "no", "B": "022", "C": "two\nlines\n", "SMTP_PASS": "hunter2", "D": "${secret:x}"},
            ),
        }
    }
)
TEXT = f"""\
# How it came about.

instance_type: t3.large

purchase: on-demand

ami: ami-1

services:
  postgresql:
    image: postgres:16.9@{DIGEST}
  n8n:
    image: n8nio/n8n:2.43.3@{DIGEST}
    environment:
      A: "no"
      B: "022"
      C: |
        two
        lines
      SMTP_PASS: "${{secret:n8n.SMTP_PASS}}"
      D: "$${{secret:x}}"

settings:
  health_deadline_seconds: 180
  consecutive_successes: 2
  auto_rollback_on_failure: true
  deadline_minutes: 15
  retention: 5
  on_interruption: wait
  bake_seconds: 0

# Facts of the deployment, which no version has and no rollback touches:
deployment:
  ssh_cidrs:
    - 203.0.113.7/32
  root_volume_gib: 40
  data_volume_gib: 20
  models_on: efs
  settle_seconds: 15
"""


def test_what_is_written_and_that_no_secret_is_in_it() -> None:
    where = target(ssh_cidrs=("203.0.113.7/32",), data_volume_gib=20, root_volume_gib=40)
    file = StackFile.of(WHOLE, where, "How it came about.")
    assert file.to_yaml() == TEXT
    assert StackFile.parse(TEXT).model_dump() == file.model_dump()
    assert json.loads(json.dumps(file.values())) == StackFile.parse(json.dumps(file.values())).values()


NOT_OF_THE_FILE = {
    "schema_version",
    "rendering",
    "image_login",
    "instance.memory_mib",
    "instance.gpus",
    "instance.gpu_memory_mib",
    "instance.architecture",
}
WHERE = {"kind", "region", "account_id", "partition", "stack_id", "availability_zone", "vpc_id", "subnet_id",
         "ssh_user", "ssh_port", "become", "adopting", "protect", "ssh_public_key", "host_public_key",
         "root_volume_tagged", "address", "connect", "forward_port", "mounts_by"}  # fmt: skip
"""What of a deployment is made at its first deploy, or found out then: a file could only repeat it."""


@pytest.mark.parametrize("path", sorted(FIELDS.keys() - {"schema_version"}))
def test_each_field_of_a_config_is_in_the_file_or_is_declared_not_to_be(path: str) -> None:
    _, declared = FIELDS[path]
    assert bool(declared.not_in_file) == (path in NOT_OF_THE_FILE)
    old, new = (StackFile.of(one, target()).values() for one in (config(), with_other(path)))
    assert (old != new) == (not declared.not_in_file), f"put {path} into models/stack_file, or say why it is not there"


def test_each_fact_of_a_deployment_is_in_the_file_or_only_says_where_it_is() -> None:
    assert StackFileFacts.model_fields.keys() - {"domains", "labels"} == Target.model_fields.keys() - WHERE - {"site"}
    flat = {"secret_environment", "own"}
    """The one stands among the other variables, the other's fields beside the image."""
    assert StackFileService.model_fields.keys() == (ServiceConfig.model_fields | OwnService.model_fields).keys() - flat


def test_the_schema_describes_each_key_and_allows_no_other() -> None:
    schema = StackFile.json_schema()
    parts = {"": schema, **schema["$defs"]}
    models: dict[str, type[Model]] = {
        "": StackFile,
        "StackFileService": StackFileService,
        "StackFileSettings": StackFileSettings,
        "StackFileFacts": StackFileFacts,
        "OwnProbe": OwnProbe,
        "OwnVolume": OwnVolume,
    }
    for name, model in models.items():
        assert parts[name]["additionalProperties"] is False
        assert parts[name]["properties"].keys() == model.model_fields.keys()
        assert all(entry["description"] for entry in parts[name]["properties"].values())
    bounds = parts["StackFileSettings"]["properties"]["deadline_minutes"]
    assert (bounds["type"], bounds["minimum"], bounds["maximum"]) == ("integer", 5, 60)
    assert schema["required"] == ["services"]


# what is read


def n8n(text: str) -> StackFile:
    return StackFile.parse(f"services:\n  n8n:\n    environment:\n      X: {text}\n", "stack.yaml")


@pytest.mark.parametrize(
    "typed",
    ["no", "on", "Off", "yes", "022", "1e3", "1_000", "0x1F", "1:30", "2025-01-21", "1.10", "true", "=", "-1", ".inf"],
)
def test_a_variable_is_the_text_that_was_typed(typed: str) -> None:
    assert n8n(typed).services["n8n"].environment == {"X": typed}
    assert n8n(f"'{typed}'").services["n8n"].environment == {"X": typed}


@pytest.mark.parametrize("typed", ["", "~", "null"])
def test_a_variable_without_a_value_is_a_mistake(typed: str) -> None:
    with pytest.raises(InvalidInputError, match=r'stack\.yaml:4: services\.n8n\.environment\.X has no value: write ""'):
        n8n(typed)
    assert n8n('""').services["n8n"].environment == {"X": ""}


def test_what_has_nothing_in_it_is_as_good_as_not_there() -> None:
    file = StackFile.parse("services:\n  n8n:\n  ollama:\n    environment:\nsettings:\ndeployment:\n")
    assert list(file.services) == ["n8n", "ollama"] and file.services["n8n"].image is None
    assert file.settings == StackFileSettings() and file.deployment == StackFileFacts()


def test_aliases_repeat_what_has_an_anchor() -> None:
    file = StackFile.parse(
        "services:\n  n8n:\n    environment: &zone {TZ: Europe/Berlin}\n  ollama:\n    environment: *zone\n"
    )
    assert file.services["ollama"].environment == {"TZ": "Europe/Berlin"}


SERVICES = "services: {n8n: }\n"
MISTAKES = {
    # yaml
    "services:\n\tn8n:": "stack.yaml:2: is indented by a tab",
    f"{SERVICES}---\n{SERVICES}": "stack.yaml:2: a second document begins",
    f"{SERVICES}ami: a\nami: b": "stack.yaml:3: ami stands here twice, first in line 2",
    "": "stack.yaml is empty",
    "# nothing": "stack.yaml is empty",
    "- n8n": "stack.yaml:1: is to be a map",
    "services: *all": "stack.yaml:1: undefined alias 'all'",
    "services: &all {n8n: *all}": "stack.yaml:1: is nested too deeply",
    "x: &x {}\n<<: *x": "stack.yaml:2: merge keys (<<) are not read",
    "ami: !!python/object/apply:os.system [x]": "stack.yaml:1: the tag !!python/object/apply:os.system is not read",
    "ami: !secret x": "stack.yaml:1: the tag !secret is not read",
    "ami: 'x": "stack.yaml:1: found unexpected end of stream",
    "? [a]\n: b": "stack.yaml:1: a map or a list is no key",
    'ami: "\\UFFFFFFFF"': "holds an escape that names no character",
    "ami: \x07": "stack.yaml:1: holds a control character",
    "a: " + "[" * 2000: "nested too deeply",
    b"ami: x\nservices: \xe9\n": "stack.yaml:2: is not UTF-8",
    SERVICES.encode("utf-16"): "stack.yaml:1: is not UTF-8",
    b"#" * (LIMIT_BYTES + 1): "stack.yaml is larger than 1 MiB",
    # the file
    "services:\n  postgres:": "stack.yaml:2: there is no service 'postgres'",
    "services:\n  n8n:\n    image: a\n    uid: 3": "stack.yaml:4: uid of n8n is geusemaker's to say",
    "services:\n  x:\n    privileged: true": "stack.yaml:3: services.x has no key 'privileged'",
    "services:\n  x:\n    probe: {kind: http, prt: 1}": "stack.yaml:3: services.x.probe has no key 'prt'",
    "services:\n  x:\n    volumes:\n      - /etc:/etc": "stack.yaml:4: services.x.volumes.0.folder: '/etc'",
    "services:\n  x:\n    probe: {kind: tcp}": "stack.yaml:2: services.x its probe asks a port",
    "services: []": "stack.yaml:1: services is to be a map",
    "ami: x\nservices:\n": "stack.yaml:2: no service is named",
    "ami: x": "stack.yaml:1: services is missing",
    f"{SERVICES}instance: t3.large": "stack.yaml:2: a stack file has no key 'instance'",
    "services:\n  n8n:\n    imge: x": "stack.yaml:3: services.n8n has no key 'imge'",
    "services:\n  n8n:\n    image:": "stack.yaml:3: services.n8n.image has no value",
    "services:\n  n8n:\n    image: UPPER": "stack.yaml:3: services.n8n.image: 'UPPER' is not an image reference",
    "services:\n  n8n:\n    environment:\n      a-b: x": "stack.yaml:3: services.n8n.environment: 'a-b' is not",
    "services:\n  n8n:\n    environment: [x]": "stack.yaml:3: services.n8n.environment is to be a map",
    "services:\n  n8n:\n    environment:\n      A: [x]": "stack.yaml:4: services.n8n.environment.A is to be a text",
    f"{SERVICES}settings:\n  retention: 022": "stack.yaml:3: settings.retention is to be a whole number",
    f"{SERVICES}settings:\n  retention: 51": "stack.yaml:3: settings.retention is to be at most 50",
    f"{SERVICES}settings:\n  retention:": "stack.yaml:3: settings.retention has no value",
    f"{SERVICES}settings:\n  auto_rollback_on_failure: yes": "stack.yaml:3: settings.auto_rollback_on_failure is to be",
    f"{SERVICES}purchase: reserved": "stack.yaml:2: purchase: input should be 'on-demand' or 'spot'",
    f"{SERVICES}ami: newest": "stack.yaml:2: ami is to be an AMI's id",
    f"{SERVICES}deployment: {{ssh_cidrs: 1.2.3.4/32}}": "stack.yaml:2: deployment.ssh_cidrs is to be a list",
    f"{SERVICES}deployment: {{ssh_cidrs: [1.2.3.4/24]}}": "Did you mean 1.2.3.0/24?",
    f"{SERVICES}deployment: {{root_volume_gib: 19}}": "stack.yaml:2: deployment.root_volume_gib is to be at least 20",
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_line(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        StackFile.parse(text, "stack.yaml")
    assert says in caught.value.message and caught.value.state == "Nothing was changed."
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("services: {x: {probe: {kind: tcp, prt: 1}}}", "Did you mean port?"),
        ("services: {postgres: }", "Did you mean postgresql?"),
        ("services: {n8n: {imge: x}}", "Did you mean image?"),
        (f"{SERVICES}zzz: 1", "It has instance_type, purchase, ami, services, settings, deployment."),
    ],
)
def test_what_may_have_been_meant(text: str, hint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        StackFile.parse(text)
    assert caught.value.next_step == hint


def test_several_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    keys = "".join(f"  {name}: 1\n" for name in "abcdef")
    with pytest.raises(InvalidInputError) as caught:
        StackFile.parse(f"settings:\n  retention: x\n{keys}services: {{x: {{imge: y}}}}\n", "s.yaml")
    told = caught.value.message.split("; ")
    assert [one.split(":")[1] for one in told] == ["2", "3", "4", "5", "6"] and told[-1].endswith("(and 3 more).")


def test_no_mistake_repeats_a_value_that_may_be_a_secret() -> None:
    with pytest.raises(InvalidInputError) as caught:
        StackFile.parse("services:\n  n8n:\n    environment:\n      A: {hunter2: hunter2}\n")
    assert "hunter2" not in str(caught.value)


def test_aliases_that_multiply_are_stopped() -> None:
    layers = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcde", "bcdef", strict=True)]
    with pytest.raises(InvalidInputError, match="has more than 50,000 values"):
        read_yaml("\n".join(layers).encode(), "stack.yaml")


def test_a_file_is_read_and_one_that_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stack.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SERVICES.encode())  # as some editors begin a file
    assert StackFile.load(path).source == str(path)
    with pytest.raises(InvalidInputError, match=r"nothing\.yaml cannot be read: No such file"):
        StackFile.load(tmp_path / "nothing.yaml")
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory"):
        StackFile.load(tmp_path)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"services: []")))
    with pytest.raises(InvalidInputError, match="standard input:1: services is to be a map"):
        StackFile.load("-")


def test_a_pipe_is_read_as_a_file_is() -> None:
    read, write = os.pipe()
    os.write(write, SERVICES.encode())
    os.close(write)
    try:
        assert list(StackFile.load(f"/dev/fd/{read}").services) == ["n8n"]
    finally:
        os.close(read)


# back and forth

LIKE_OTHERS = ["no", "022", "1e3", "2025-01-21", "~", "null", "", "1:30", "<<", "=", "a: b", "- x", "#x", "x #y", "\t",
               "a\nb", "a\nb\n", "a\n\n", "\na", "a\n b", "a\n\tb", "é😀\nx", "a\x85b", "a\u2028b", "\u202eab", "|",
               "$${secret:x}", "${secret:n8n.X}", "${secret:A}", "--- x", "... ", "%A", "@a", "`a`", "a\r\nb",
               "\ufeff"]  # fmt: skip
TEXTS = (
    st.text(alphabet=st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(LIKE_OTHERS)
    | st.lists(st.text(alphabet=st.sampled_from("ab \t#:é-'\"\\{}$")), max_size=4).map("\n".join)
)


@given(
    st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS) | st.dictionaries(TEXTS, TEXTS, min_size=1), min_size=1),
    st.booleans(),
)
def test_what_is_written_is_what_is_read(values: dict[str, Any], in_quotes: bool) -> None:
    text = write_yaml(values, {(): "head\nmore"}, tuple(values) if in_quotes else ())
    assert read_yaml(text.encode(), "stack.yaml").values == values


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), TEXTS, min_size=1))
@settings(max_examples=50)
def test_other_readers_of_yaml_read_the_same(environment: dict[str, str]) -> None:
    read = yaml.safe_load(write_yaml({"environment": environment}, {}, ("environment",)))
    assert read["environment"] == environment


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
IMAGES = st.sampled_from(
    [f"n8nio/n8n:2.43.3@{DIGEST}", "n8nio/n8n:2.43.3", "registry.example.com:5000/a/b:022", "a:1e3"]
)


@given(st.dictionaries(NAMES, TEXTS), IMAGES, st.integers(5, 60), st.booleans(), st.sampled_from(["", "ami-1"]))
def test_each_config_is_the_same_after_it_was_written_and_read(
    environment: dict[str, str], image: str, minutes: int, returns: bool, ami: str
) -> None:
    document = config().to_json()
    document["services"]["n8n"] = {"image": image, "environment": environment}
    document["rollback"] |= {"deadline_minutes": minutes, "auto_rollback_on_failure": returns}
    file = StackFile.of(StackConfig.model_validate({**document, "ami": ami}), target())
    assert StackFile.parse(file.to_yaml()).model_dump() == file.model_dump()
