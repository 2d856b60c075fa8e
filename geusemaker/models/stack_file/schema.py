"""The JSON schema of a stack file: what editors complete and check it by."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel

from geusemaker.catalog import SERVICE_NAMES
from geusemaker.models.fields import told
from geusemaker.models.own import OwnProbe, OwnService, OwnVolume
from geusemaker.models.stack_file.parts import StackFileFacts, StackFileService, StackFileSettings


def schema_of(file: type[BaseModel]) -> dict[str, Any]:
    """The schema of the model of a whole file."""
    schema = file.model_json_schema()
    parts = (StackFileService, StackFileSettings, StackFileFacts, OwnProbe, OwnVolume)
    described: list[tuple[type[BaseModel], dict[str, Any]]] = [(file, schema)]
    described += [(part, schema["$defs"][part.__name__]) for part in parts]
    for model, part in described:
        texts = _texts(model) if model in (OwnProbe, OwnVolume) else _texts(OwnService)
        part.pop("title", None)
        part["description"] = (inspect.getdoc(model) or "").partition("\n")[0]
        for name, field in model.model_fields.items():
            declared = told(field.metadata)
            about = declared.about or (declared.option.help if declared.option else texts.get(name, ""))
            part["properties"][name] = {**_only(part["properties"][name]), "description": about}
    service = schema["$defs"][StackFileService.__name__]["properties"]
    service["command"] = _also(service["command"], {"type": "string"})
    service["ports"]["items"] = {"type": ["string", "integer"]}
    service["volumes"]["items"] = _also(service["volumes"]["items"], {"type": "string"})
    probe = schema["$defs"][OwnProbe.__name__]["properties"]
    probe["command"] = _also(probe["command"], {"type": "string"})
    for model in (StackFileService, StackFileSettings, StackFileFacts):
        schema["$defs"][model.__name__]["type"] = ["object", "null"]  # null is as good as nothing in it
    services = schema["properties"]["services"]
    services["properties"] = dict.fromkeys(SERVICE_NAMES, services["additionalProperties"])
    schema["title"] = "A deployment of geusemaker"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _only(entry: dict[str, Any]) -> dict[str, Any]:
    """What may stand there, where something does: not what stands for nothing."""
    entry = {key: value for key, value in entry.items() if key not in ("title", "default")}
    either = [one for one in entry.pop("anyOf", []) if one != {"type": "null"}]
    return {**entry, **(either[0] if len(either) == 1 else {"anyOf": either} if either else {})}


def _also(entry: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    about = {key: entry[key] for key in ("description",) if key in entry}
    return {"anyOf": [{key: value for key, value in entry.items() if key not in about}, other], **about}


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Field → the text below it in the source."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            found[field.target.id] = " ".join(str(text).replace("``", "").split())
    return found
