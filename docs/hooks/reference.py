"""The references of the documentation's site, made from the code: settings, project.yaml, command line, Python API."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

from raymlops.cli.main import app
from raymlops.config.control import PolicyConfig
from raymlops.config.platform import PlatformConfig
from raymlops.records.bundles import ProjectSpec
from raymlops.steps.project.parameters import TrainingParameters

__all__ = ["PACKAGES", "Key", "api_page", "cli_page", "configuration_page", "keys_of", "project_keys", "project_page"]

PACKAGES = (
    "raymlops",
    "raymlops.platform",
    "raymlops.features",
    "raymlops.config",
    "raymlops.experiments",
    "raymlops.flavors",
    "raymlops.monitoring",
    "raymlops.control",
    "raymlops.laboratory",
    "raymlops.replay",
    "raymlops.testing",
    "raymlops.clock",
    "raymlops.errors",
)
"""What the reference of the Python API covers: what its ``__all__`` names."""
_CONFIGURATION = """# Configuration reference

Every setting of `platform.yaml`. This page is made from the code. A setting stands in the file, in
`env/ENVIRONMENT.yaml` beside it, or in a variable `RAYMLOPS_SECTION__FIELD`; what comes later in this list wins.
Durations are texts such as `7d`, `1h30m` or `250ms`. `NAME` stands for a name of your own, `[]` for an item of a list.
"""
_PROJECT = """# project.yaml reference

Every key of a project's `project.yaml`. This page is made from the code.
[A project from a table](../init.md) shows a whole file.
"""


@dataclass(frozen=True)
class Key:
    """One key of a file: its dotted name, what it takes, its default and what it is for."""

    name: str
    type: str
    default: str
    description: str


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every key of a model and of the models in it, sections before their keys."""
    schema = model.model_json_schema()
    for name, info in model.model_fields.items():
        part = schema["properties"][info.alias or name]
        dotted = f"{prefix}{name}"
        nested = list(_nested(info.annotation))
        default = _default(info)
        yield Key(
            dotted,
            _type(part, schema.get("$defs", {})),
            "" if nested and default == "{}" else default,
            _text(model, name),
        )
        for place, inner in nested:
            yield from keys_of(inner, f"{dotted}{place}.")


def _nested(annotation: Any, place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Models that a key holds; between its name and theirs stands ``.NAME`` for a mapping, ``[]`` for a list."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield place, annotation
        return
    origin = getattr(annotation, "__origin__", None)
    if inspect.isclass(origin):
        inner = ".NAME" if issubclass(origin, Mapping) else "[]" if issubclass(origin, Sequence) else ""
        place += inner
    for each in get_args(annotation):
        yield from _nested(each, place)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    holder = type("Holder", (BaseModel,), {"__annotations__": {"value": info.rebuild_annotation()}})
    text = json.dumps(holder.model_construct(value=value).model_dump(mode="json")["value"], ensure_ascii=False)
    return text.replace(str(Path.home()), "~")


def _type(part: dict[str, Any], defs: dict[str, Any]) -> str:
    """What a key takes, in words, from its JSON schema."""
    if "$ref" in part:
        return _type(defs[part["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(each, defs) for each in part["anyOf"]))
    if "enum" in part or "const" in part:
        return " or ".join(f"`{each}`" for each in part.get("enum", [part.get("const")]))
    kind = part.get("type", "any")
    if kind == "array":
        items = part.get("items") or {"anyOf": part.get("prefixItems", [{}])}
        return f"list of {_type(items, defs)}"
    if kind == "object":
        inner = part.get("additionalProperties")
        return (
            f"mapping to {_type(inner, defs)}"
            if isinstance(inner, dict)
            else "section"
            if "properties" in part
            else "mapping"
        )
    words = {"string": part.get("format", "text"), "number": "number", "integer": "whole number", "null": "null"}
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    told = [f"{sign} {part[name]}" for name, sign in bounds.items() if name in part]
    return " ".join([words.get(kind, "true or false" if kind == "boolean" else kind), ", ".join(told)]).strip()


@cache
def _docstrings(model: type) -> dict[str, str]:
    """The text under each field of a class and of its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[ast.unparse(field.target)] = inspect.cleandoc(str(after.value.value))
    return found


def _text(model: type[BaseModel], name: str) -> str:
    return " ".join(_docstrings(model).get(name, "").replace("``", "`").split())


def _shown(default: str) -> str:
    """A default in the table; one that is a whole document is told in words."""
    if len(default) > 80:
        return "see the source"
    return default if default in ("", "required") else f"`{default}`"


def _table(keys: list[Key]) -> str:
    rows = ["| key | takes | default | what it is |", "|---|---|---|---|"]
    for key in keys:
        cells = [f"`{key.name}`", key.type, _shown(key.default), key.description]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _sections(model: type[BaseModel]) -> str:
    """A table of a model's own keys, and one under a heading for each section of it."""
    keys = list(keys_of(model))
    tops = [key for key in keys if not any(key.name.startswith(f"{name}.") for name in model.model_fields)]
    text = _table([key for key in tops if key.type != "section"])
    for top in tops:
        inner = [key for key in keys if key.name.startswith((f"{top.name}.", f"{top.name}["))]
        if inner:
            text += f"\n## {top.name}\n\n{top.description}\n\n{_table(inner)}"
    return text


def configuration_page() -> str:
    """Every setting of the platform."""
    return f"{_CONFIGURATION}\n{_sections(PlatformConfig)}"


def project_keys() -> list[Key]:
    """Every key of ``project.yaml``, those of ``training`` and ``policy`` among them."""
    parts = [*keys_of(TrainingParameters, "training."), *keys_of(PolicyConfig, "policy.")]
    return [*keys_of(ProjectSpec), *parts]


def project_page() -> str:
    """Every key of ``project.yaml``."""
    keys = project_keys()
    text = f"{_PROJECT}\n" + _table([key for key in keys if "." not in key.name])
    for section in ("data", "training", "resources", "policy", "replay"):
        text += f"\n## {section}\n\n" + _table([key for key in keys if key.name.startswith(f"{section}.")])
    return text


def cli_page() -> str:
    """Every command, its arguments and options, as Typer tells them."""
    root = typer.main.get_command(app)
    return get_docs_for_click(obj=root, ctx=typer.Context(root), name="raymlops", title="Command line reference")


def api_page(package: str) -> str:
    """The page of a package, which mkdocstrings fills."""
    return f"# {package}\n\n::: {package}\n"
