"""The figures of the floor plan, measured on the sources of the package.

``python -m benchmarks.structure`` measures what stands here; ``python -m benchmarks.structure REVISION`` counts the
lines of each room beside those that it had at a revision of the repository.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tarfile
import tokenize
from collections import defaultdict
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


def _code_lines(text: str) -> int:
    """Lines of a source that hold code: without blanks, comments and docstrings."""
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
            _code_lines(path.read_text(encoding="utf-8"))
            for path in modules.values()
            if not path.name.endswith(_GENERATED)
        ),
        "modules": len(modules),
    }


def lines_since(revision: str) -> dict[str, dict[str, int]]:
    """Room -> lines of code at a revision, now, and now in files that came since; the sums come last.

    A room is a folder of the package and all below it; ``.`` holds the files beside them. A file that was moved or
    renamed, and is at least half what it was, did not come since.

    Raises:
        subprocess.CalledProcessError: There is no such revision here.
    """
    found: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"then": 0, "now": 0, "of which in new files": 0})
    for name, text in _sources_at(revision):
        found[_room(name)]["then"] += _code_lines(text)
    new = _new_files(revision)
    for path in _modules().values():
        name = str(path.relative_to(_ROOT))
        if name.endswith(_GENERATED):
            continue
        lines = _code_lines(path.read_text(encoding="utf-8"))
        found[_room(name)]["now"] += lines
        found[_room(name)]["of which in new files"] += lines if name in new else 0
    rooms = dict(sorted(found.items()))
    return {**rooms, "all": {name: sum(room[name] for room in rooms.values()) for name in next(iter(rooms.values()))}}


def _room(name: str) -> str:
    parts = Path(name).parts[1:-1]
    return parts[0] if parts else "."


def _sources_at(revision: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=io.BytesIO(_git("archive", revision, _PACKAGE))) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".py") and not member.name.endswith(_GENERATED):
                yield member.name, file.read().decode()


def _new_files(revision: str) -> set[str]:
    untracked = _git("ls-files", "--others", "--exclude-standard", "-z", _PACKAGE)
    added = _git("diff", "-M", "-l9999", "--diff-filter=A", "--name-only", "-z", revision, "--", _PACKAGE)
    return {name.decode() for name in (untracked + added).split(b"\0") if name}


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True).stdout


def entries() -> dict[Path, list[str]]:
    """Folder of the package, from the root -> names of its files and folders."""
    inside = (folder for folder in (_ROOT / _PACKAGE).rglob("*") if folder.is_dir() and folder.name != "__pycache__")
    return {
        folder.relative_to(_ROOT): [entry.name for entry in folder.iterdir() if entry.name != "__pycache__"]
        for folder in (_ROOT / _PACKAGE, *inside)
    }


if __name__ == "__main__":
    print(json.dumps(lines_since(sys.argv[1]) if sys.argv[1:] else measure(), indent=1))
