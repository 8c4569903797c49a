"""Whatever a public call returns shows itself: one line in a terminal, a table in a notebook."""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any, get_args

SUBJECTS = ("raymlops.control", "raymlops.monitoring", "raymlops.features")
ABBREVIATED = {"runtime": "raymlops.runtime", "pa": "pyarrow", "pd": "pandas", "np": "numpy"}
NOT_SHOWN: set[str] = set()


def classes_in(kind: Any) -> Iterator[type]:
    """The classes of this package in a type, through lists, tuples and unions."""
    parts = get_args(kind)
    for part in parts:
        yield from classes_in(part)
    if not parts and isinstance(kind, type) and kind.__module__.startswith("raymlops."):
        yield kind


class Names(dict[str, Any]):
    """What annotations may name, whether or not their module imports it for type checkers alone."""

    def __init__(self) -> None:
        super().__init__(vars(builtins))
        self.unknown: set[str] = set()
        for name, module in list(sys.modules.items()):
            if name.startswith("raymlops"):
                self |= {key: value for key, value in vars(module).items() if isinstance(value, type)}
        for module in map(importlib.import_module, SUBJECTS):  # of classes that share a name, the public one is meant
            public = ((name, getattr(module, name)) for name in module.__all__)
            self |= {name: value for name, value in public if isinstance(value, type)}
        self |= {name: sys.modules[module] for name, module in ABBREVIATED.items()}

    def __missing__(self, name: str) -> Any:
        self.unknown.add(name)
        return Any

    def returned(self, function: Any) -> set[type]:
        """The classes that a function returns."""
        text = function.__annotations__.get("return", "None")
        known = {**self, **{key: value for key, value in function.__globals__.items() if not key.startswith("__")}}
        return (
            set(classes_in(eval(text, {}, _Reading(known, self)))) if isinstance(text, str) else set(classes_in(text))
        )


class _Reading(dict[str, Any]):
    def __init__(self, known: dict[str, Any], names: Names) -> None:
        super().__init__(known)
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names[name]


def public_methods(kind: type) -> Iterator[Any]:
    for name in dir(kind):
        found = inspect.getattr_static(kind, name)
        found = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if not name.startswith("_") and inspect.isfunction(found) and found.__module__.startswith("raymlops"):
            yield found


def load_everything() -> None:
    for module in (*SUBJECTS, "raymlops.runtime", "raymlops.scorecard", "raymlops.metadata.garbage"):
        loaded = importlib.import_module(module)
        for name in getattr(loaded, "__all__", ()):
            getattr(loaded, name)
    for name in ("control.loop.explaining.model_status", "laboratory.comparison", "laboratory.report.lab_report"):
        importlib.import_module(f"raymlops.{name}")


def functions_of_modules() -> Iterator[Any]:
    for module in map(importlib.import_module, SUBJECTS):
        yield from filter(inspect.isfunction, (getattr(module, name) for name in module.__all__))


def looked_at() -> dict[str, Any]:
    """Class -> whether it has a line, and a table, of its own; and what annotations name that nobody knows."""
    import raymlops.platform as front

    load_everything()
    names, subjects = Names(), {front.Platform}
    for member in vars(front.Platform).values():
        if isinstance(member, cached_property):
            subjects |= names.returned(member.func)
    functions = [*functions_of_modules(), *(method for subject in subjects for method in public_methods(subject))]
    found = set().union(*map(names.returned, functions)) - subjects
    shown = {
        f"{kind.__module__}.{kind.__name__}": [
            kind.__repr__ is not object.__repr__,
            callable(getattr(kind, "_repr_html_", None)),
        ]
        for kind in found
    }
    return {"shown": shown, "unknown": sorted(names.unknown)}


def test_every_public_return_type_shows_itself() -> None:
    # in a process of its own: the runtime imports ray, which the tests of this process forbid
    code = "import json, tests.repo.test_notebook_manners as here; print(json.dumps(here.looked_at()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unknown"] == []
    assert len(found["shown"]) > 40
    lacking = {name for name, has in found["shown"].items() if has != [True, True]}
    assert lacking == NOT_SHOWN
