"""What a pipeline imports."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel

import geusemaker
from geusemaker import InvalidInputError, RollbackRequest, UpdateRequest, errors
from geusemaker.local_cloud.client import LocalCloud

PUBLIC = geusemaker.__all__
CLASSES = {name: found for name in PUBLIC if isinstance(found := getattr(geusemaker, name), type)}
MODELS = {name: found for name, found in CLASSES.items() if issubclass(found, BaseModel)}


def test_each_error_is_public() -> None:
    assert set(errors.__all__) <= set(PUBLIC) and sorted(PUBLIC) == PUBLIC == dir(geusemaker)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_what_its_module_defines_and_documented(name: str) -> None:
    found = getattr(geusemaker, name)
    assert found is getattr(import_module(found.__module__), name) and found.__doc__


def described(model: type[BaseModel]) -> set[str]:
    """The fields with a text of their own below them, or named in a docstring of the class."""
    found: set[str] = set()
    for base in model.__mro__:
        if issubclass(base, BaseModel) and base.__module__.startswith("geusemaker."):
            [node] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(node, ast.ClassDef)
            doc = ast.get_docstring(node) or ""
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    has_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    if has_text or f"``{field.target.id}``" in doc:
                        found.add(field.target.id)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_each_field_is_described(name: str) -> None:
    assert MODELS[name].model_fields.keys() - described(MODELS[name]) == set()


def ours(annotation: Any) -> Iterator[type]:
    """The classes of ours in an annotation, whatever they are in."""
    if isinstance(annotation, type) and annotation.__module__.startswith("geusemaker."):
        yield annotation
    for part in typing.get_args(annotation):
        for one in part if isinstance(part, list) else [part]:
            yield from ours(one)


def signatures(found: type) -> Iterator[tuple[str, Any]]:
    """(where, annotation) of what a caller of a class sees."""
    if issubclass(found, BaseModel):
        yield from ((name, field.annotation) for name, field in found.model_fields.items())
    public = {"LocalCloud": LocalCloud} | {name: getattr(geusemaker, name) for name in PUBLIC}
    for base in found.__mro__:
        if not base.__module__.startswith("geusemaker."):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or getattr(member, "__module__", "").startswith("pydantic."):
                continue
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function):
                hints = typing.get_type_hints(function, globalns=vars(import_module(base.__module__)) | public)
                yield from ((f"{name}({argument})", hint) for argument, hint in hints.items())


ELSEWHERE = {"LocalCloud"}
"""Of the local cloud, which the library can do without."""


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_public_signature_names_is_public(name: str) -> None:
    for where, annotation in signatures(CLASSES[name]):
        hidden = {one.__name__ for one in ours(annotation)} - set(PUBLIC) - ELSEWHERE
        assert not hidden, f"{name}.{where} names {', '.join(hidden)}"


def test_a_field_that_there_is_not_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidInputError, match=r"UpdateRequest has no field 'imges'\.") as caught:
        UpdateRequest(imges={"n8n": "n8nio/n8n:2.43.0"})  # type: ignore[call-arg]
    assert caught.value.next_step == "Did you mean images?" and caught.value.state == "Nothing was changed."
    with pytest.raises(InvalidInputError, match=r"RollbackRequest has no field 'zzz'\."):
        RollbackRequest(zzz=1)  # type: ignore[call-arg]


def test_a_value_of_another_type_is_an_error_of_ours_that_does_not_repeat_it() -> None:
    with pytest.raises(InvalidInputError, match=r"RollbackRequest\.to_version: ") as caught:
        RollbackRequest(to_version="the last one")  # type: ignore[arg-type]
    assert "the last one" not in str(caught.value)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = geusemaker.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, geusemaker; print([m for m in ('pulumi', 'pydantic', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
