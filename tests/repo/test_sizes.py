"""The size gate: the only thing that stops god files (style.md 3.4)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("raymlops", "jobs", "serve_apps", "examples")
FILE_LINES, FUNCTION_LINES, CLASS_METHODS = 400, 60, 20

FILES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


@cache
def _defined(path: Path) -> dict[str, tuple[frozenset[str], tuple[str, ...]]]:
    """Class of a module -> its methods, and the names of its bases."""
    return {
        node.name: (_methods(node), tuple(ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }


def _methods(node: ast.ClassDef) -> frozenset[str]:
    """Names of its methods; the tests of a suite are a list, whatever their number."""
    functions = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if not each.name.startswith("test_"))


def _inherited(path: Path, name: str, imported: dict[str, Path]) -> frozenset[str]:
    """Methods of a class with those of its bases, as far as the bases are the project's own."""
    known = _defined(path)
    if name not in known:
        where = imported.get(name)
        return frozenset() if where is None else _inherited(where, name, _imported(where))
    methods, bases = known[name]
    return methods.union(*(_inherited(path, base, imported) for base in bases if base != name))


@cache
def _imported(path: Path) -> dict[str, Path]:
    """Name that a module imports from a module of the project -> the file of that module."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            place = ROOT.joinpath(*node.module.split("."))
            if place.with_suffix(".py").is_file():
                found |= {name.name: place.with_suffix(".py") for name in node.names}
            elif (package := place / "__init__.py").is_file() and package != path:
                names = [name.name for name in node.names if not _is_module(place / name.name)]
                found |= {name: _imported(package)[name] for name in names if name in _imported(package)}
    return found


def _is_module(place: Path) -> bool:
    return place.with_suffix(".py").is_file() or place.is_dir()


def crowded(path: Path) -> Iterator[str]:
    """Classes with too many methods, those that they inherit from the project's own classes among them."""
    for name in _defined(path):
        if (count := len(_inherited(path, name, _imported(path)))) > CLASS_METHODS:
            yield f"class {name} has {count} methods, inherited ones among them"


def oversized(source: str) -> Iterator[str]:
    """What is too large in a module."""
    if (lines := len(source.splitlines())) > FILE_LINES:
        yield f"file has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"function {node.name} has {lines} lines"


def test_there_is_something_to_measure() -> None:
    assert any(path.is_relative_to(ROOT / "raymlops" / "control") for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    assert [*oversized(path.read_text(encoding="utf-8")), *crowded(path)] == []


def test_the_gate_itself(tmp_path: Path) -> None:
    body = "\n".join(["    x = 1"] * 60)
    assert list(oversized(f"def f():\n{body}\n")) == ["function f has 61 lines"]
    assert list(oversized("x = 1\n" * 401)) == ["file has 401 lines"]
    assert list(oversized("x = 1\n" * 400)) == []
    methods = ["\n".join(f"    async def m{n}(self): ..." for n in part) for part in (range(11), range(10, 21))]
    crowd = tmp_path / "crowd.py"
    crowd.write_text(f"class A:\n{methods[0]}\nclass B:\n{methods[1]}\nclass C(A, B): ...\nclass D(A): ...\n")
    assert list(crowded(crowd)) == ["class C has 21 methods, inherited ones among them"]
