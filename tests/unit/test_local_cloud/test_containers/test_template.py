from __future__ import annotations

import pytest

from geusemaker.local_cloud.containers.template import TemplateError, render

VALUE = {
    "Id": "abc",
    "State": {"Running": True, "Pid": 7},
    "RepoDigests": ["a@b"],
    "Labels": {"x.y": "z"},
    "None": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}}", "abc"),
        ("{{ .State.Pid }}/{{.State.Running}}", "7/true"),
        ("{{json .State}}", '{"Running":true,"Pid":7}'),
        ("{{.RepoDigests}} {{.Labels}}", "[a@b] map[x.y:z]"),
        ("{{.None}}", "<no value>"),
        (r"a\tb", "a\tb"),
    ],
)
def test_rendering(template: str, text: str) -> None:
    assert render(template, VALUE) == text


@pytest.mark.parametrize(
    "template", ["{{.Nope}}", "{{index .RepoDigests 0}}", "{{range .Labels}}", "{{}}", "{{json x}}"]
)
def test_what_cannot_be_rendered_is_an_error(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, VALUE)
