"""Every name that tests, benchmarks and examples import from this repository is there, within functions, too."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder in ("tests", "benchmarks", "jobs", "examples", "serve_apps")
    for path in (ROOT / folder).rglob("*.py")
)


@cache
def names_of(source: Path) -> frozenset[str]:
    """What a module defines or imports at its head, generated stubs included."""
    found: set[str] = set()
    for path in (source, source.with_suffix(".pyi")):
        if not path.exists():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    found.add(node.name)
                case ast.Name(ctx=ast.Store()):
                    found.add(node.id)
                case ast.Import() | ast.ImportFrom():
                    found.update(alias.asname or alias.name for alias in node.names)
    return frozenset(found)


def missing(node: ast.ImportFrom) -> list[str]:
    """Names of an import that its module does not have."""
    module = ROOT.joinpath(*(node.module or "").split("."))
    source = module.with_suffix(".py") if module.with_suffix(".py").exists() else module / "__init__.py"
    if not source.exists() and not module.is_dir():
        return [f"{node.module}"]
    known = names_of(source) | {path.stem for path in module.glob("*")}
    return [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in known]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.level == 0
        and (node.module or "").partition(".")[0] in {"raymlops", "tests", "benchmarks"}
    ]
    assert [name for node in ours for name in missing(node)] == []
