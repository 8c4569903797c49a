"""``python -m benchmarks.structure``: the figures of the floor plan, measured on the sources of the package."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "raymlops"
_GENERATED = "_pb2.py"


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted((_ROOT / _PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def _imports(path: Path, modules: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    """Own modules that a module imports, and whether inside a function; imports for types alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _PACKAGE:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield (inner if inner in modules else node.module), node in hidden
        elif isinstance(node, ast.Import):
            yield from ((name.name, node in hidden) for name in node.names if name.name in modules)


def _code_lines(path: Path) -> int:
    """Lines that hold code: without blanks, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - docs)


def longest_chain(edges: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The longest chain of imports: each module imports the next."""

    @cache
    def chain(name: str) -> tuple[str, ...]:
        return (name, *max((chain(target) for target in edges[name] if target in edges), key=len, default=()))

    return max((chain(name) for name in edges), key=len)


def own_imports() -> tuple[dict[str, set[str]], int]:
    """Module -> own modules that it imports at its head; and how many imports stand inside functions."""
    modules = _modules()
    edges = {name: set[str]() for name in modules}
    hidden = 0
    for name, path in modules.items():
        for target, inside in _imports(path, modules):
            hidden += inside
            if not inside and target != name:
                edges[name].add(target)
    return edges, hidden


def measure() -> dict[str, object]:
    """The figures; the longest chain and the largest folder by name, too."""
    modules, folders = _modules(), entries()
    edges, hidden = own_imports()
    longest = longest_chain(edges)
    largest = max(folders, key=lambda folder: len(folders[folder]))
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules.values())
    return {
        "longest import chain": len(longest),
        "along": list(longest),
        "entries in the largest folder": len(folders[largest]),
        "that folder": str(largest),
        "hidden own-package imports per 1,000 lines": round(1000 * hidden / lines, 2),
        "lines of code, docstrings, comments and blanks aside": sum(
            _code_lines(path) for path in modules.values() if not path.name.endswith(_GENERATED)
        ),
        "modules": len(modules),
    }


def entries() -> dict[Path, list[str]]:
    """Folder of the package, from the root -> names of its files and folders."""
    inside = (folder for folder in (_ROOT / _PACKAGE).rglob("*") if folder.is_dir() and folder.name != "__pycache__")
    return {
        folder.relative_to(_ROOT): [entry.name for entry in folder.iterdir() if entry.name != "__pycache__"]
        for folder in (_ROOT / _PACKAGE, *inside)
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
