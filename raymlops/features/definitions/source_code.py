"""The source code of a user's function and of what it calls, found without importing it."""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raymlops.errors import ConfigError
from raymlops.records.record import sha256_of

__all__ = ["FunctionSource", "function_source"]


@dataclass(frozen=True)
class FunctionSource:
    """The source code that a function consists of."""

    digest: str
    """Hex SHA-256 of the statements; comments, docstrings and layout do not count."""
    files: dict[str, str]
    """Module -> digest of its file, those that others import from first."""


def function_source(reference: str) -> FunctionSource:
    """The source of a function and of all it names, as far as that can be told without running it.

    Followed are names of the function's module and what that module imports from its own top-level package. Of other
    imports only the statement counts: libraries have versions.

    Args:
        reference: ``module:function``.

    Raises:
        ConfigError: the module has no file, the file is no Python, or does not bind the name.
    """
    module, _, name = reference.partition(":")
    walk = _Walk(module.partition(".")[0])
    if not walk.visit(module, name):
        raise ConfigError(f"cannot import {reference!r}: {module!r} has no {name!r}", function=reference)
    return FunctionSource(sha256_of({"statements": walk.statements}), walk.files())


class _Module:
    """The top-level statements of a module, by the names they bind."""

    def __init__(self, name: str, path: Path) -> None:
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        with tokenize.open(path) as file:
            text = file.read()
        self.digest = sha256_of(text.encode())
        self.bindings: dict[str, list[ast.stmt]] = {}
        for statement in ast.parse(text).body:
            for bound in set(_bound(statement)):
                self.bindings.setdefault(bound, []).append(statement)


class _Walk:
    """Collects statements, each once, those that are used before those that use them."""

    def __init__(self, top: str) -> None:
        self._top = top
        self._modules: dict[str, _Module | None] = {}
        self._seen: set[tuple[str, str]] = set()
        self._taken: set[int] = set()
        self._imports: dict[str, list[str]] = {}
        self.statements: list[str] = []

    def files(self) -> dict[str, str]:
        """Module -> digest of its file, for all that were visited; those that others import from first."""
        ordered: dict[str, str] = {}
        entered: set[str] = set()

        def enter(module: str) -> None:
            found = self._modules.get(module)
            if module in entered or found is None:
                return
            entered.add(module)
            for imported in self._imports.get(module, []):
                enter(imported)
            ordered[module] = found.digest

        for module in list(self._modules):
            enter(module)
        return ordered

    def visit(self, module: str, name: str) -> bool:
        """Whether the module binds the name; what it is made of is collected."""
        found = self._module(module)
        if found is None or name not in found.bindings:
            return False
        if (module, name) not in self._seen:
            self._seen.add((module, name))
            for statement in found.bindings[name]:
                self._collect(module, found, name, statement)
        return True

    def _collect(self, module: str, found: _Module, name: str, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._follow(module, found, name, statement)
        elif id(statement) not in self._taken:
            self._taken.add(id(statement))
            for used in sorted(_names(statement)):
                self.visit(module, used)
            self.statements.append(ast.unparse(_without_docstrings(statement)))

    def _follow(self, module: str, importer: _Module, name: str, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            if (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            if isinstance(statement, ast.Import):
                source, member = alias.name, None
            else:
                relative = "." * statement.level + (statement.module or "")
                source = importlib.util.resolve_name(relative, importer.package)
                member = alias.name
            own = source.partition(".")[0] == self._top
            self._imports.setdefault(module, []).extend([source] if member is None else [source, f"{source}.{member}"])
            if member is not None and own and self.visit(source, member):
                continue
            self.statements.append(f"{name} is {source}" + ("" if member is None else f":{member}"))
            if own:
                self._visit_all(source if member is None else f"{source}.{member}")

    def _visit_all(self, module: str) -> None:
        found = self._module(module)
        for name in [] if found is None else found.bindings:
            self.visit(module, name)

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = _read(name, required=not self._modules)
        return self._modules[name]


def _read(name: str, *, required: bool) -> _Module | None:
    """A module by name; ``None`` where it has no source and need not have any."""
    try:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None else spec.origin
        if origin is not None and origin.endswith(".py"):
            return _Module(name, Path(origin))
        reason = "no such module on the path of this process" if spec is None else "it has no source file"
        cause: Exception | None = None
    except (ImportError, ValueError, SyntaxError, OSError) as error:
        reason, cause = str(error), error
    if required:
        raise ConfigError(f"cannot import {name!r}: {reason}", module=name) from cause
    return None


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement binds in its module."""
    pending: list[ast.AST] = [statement]
    while pending:
        match pending.pop():
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Lambda():
                pass
            case other:
                pending += ast.iter_child_nodes(other)


def _names(statement: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = _without_docstring(node.body)
    return statement


def _without_docstring(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    first, *rest = body
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return rest or [ast.Pass()]
    return [first, *rest]
