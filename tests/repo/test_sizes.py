"""The size gate: the only thing that stops god files (style.md 3.4)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("raymlops", "jobs", "serve_apps", "examples")
FILE_LINES, FUNCTION_LINES, CLASS_METHODS = 400, 60, 20

FILES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def oversized(source: str) -> Iterator[str]:
    """What is too large in a module."""
    if (lines := len(source.splitlines())) > FILE_LINES:
        yield f"file has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"function {node.name} has {lines} lines"
        elif isinstance(node, ast.ClassDef):
            methods = sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)
            if methods > CLASS_METHODS:
                yield f"class {node.name} has {methods} methods"


def test_there_is_something_to_measure() -> None:
    assert any(path.is_relative_to(ROOT / "raymlops" / "control") for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    assert list(oversized(path.read_text(encoding="utf-8"))) == []


def test_the_gate_itself() -> None:
    body = "\n".join(["    x = 1"] * 60)
    assert list(oversized(f"def f():\n{body}\n")) == ["function f has 61 lines"]
    assert list(oversized("x = 1\n" * 401)) == ["file has 401 lines"]
    methods = "\n".join(f"    async def m{n}(self): ..." for n in range(21))
    assert list(oversized(f"class C:\n{methods}\n")) == ["class C has 21 methods"]
    assert list(oversized("x = 1\n" * 400)) == []
