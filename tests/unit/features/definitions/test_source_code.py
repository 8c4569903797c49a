from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from raymlops.errors import ConfigError
from raymlops.features.definitions.source_code import function_source

MODULE = '''
"""Features."""
import numpy as np
from math import pi as PI
from {package}.parts import scaled
import {package}.whole as whole

FACTOR = 2.0
UNUSED = 1

def helper(x):
    """Doubles."""
    return x * FACTOR  # twice

def other(x):
    return x

def ratio(columns):
    return {{"y": scaled(helper(columns["x"]), 3) + np.floor(PI) + whole.offset()}}
'''
PARTS = "SCALE = 1\ndef scaled(x, by):\n    return x * by * SCALE\ndef unrelated():\n    return 1\n"
WHOLE = "def offset():\n    return 0\n"


class Project:
    """A package that is written, and read anew."""

    def __init__(self, root: Path) -> None:
        self.name = f"project_{root.name.replace('-', '_')}"
        self._root = root / self.name
        self._root.mkdir()
        self.write("__init__", "")
        self.write("parts", PARTS)
        self.write("whole", WHOLE)
        self.write("features", MODULE.format(package=self.name))

    def write(self, module: str, text: str) -> None:
        (self._root / f"{module}.py").write_text(text)
        importlib.invalidate_caches()

    def changed(self, module: str, old: str, new: str) -> None:
        text = (self._root / f"{module}.py").read_text()
        assert old in text
        self.write(module, text.replace(old, new))

    def digest(self, function: str = "ratio") -> str:
        return function_source(f"{self.name}.features:{function}").digest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Project(tmp_path)
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == made.name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("features", "helper(columns", "other(columns"),
        ("features", "x * FACTOR", "x + FACTOR"),
        ("features", "FACTOR = 2.0", "FACTOR = 3.0"),
        ("features", "import pi as PI", "import e as PI"),
        ("features", "import numpy as np", "import cupy as np"),
        ("parts", "x * by", "x / by"),
        ("parts", "SCALE = 1", "SCALE = 2"),
        ("whole", "return 0", "return 1"),
    ],
)
def test_all_that_a_function_names_counts(project: Project, module: str, old: str, new: str) -> None:
    before = project.digest()
    project.changed(module, old, new)
    assert project.digest() != before
    project.changed(module, new, old)
    assert project.digest() == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("features", "# twice", "# two times"),
        ("features", '"""Doubles."""', '"""Twice as much."""'),
        ("features", "UNUSED = 1", "UNUSED = 2"),
        ("features", "def other(x):", "def another(x, y):"),
        ("features", "\n\ndef ratio", "\n\n\n\ndef ratio"),
        ("parts", "return 1", "return 2"),
    ],
)
def test_what_it_does_not_name_and_how_it_looks_do_not_count(project: Project, module: str, old: str, new: str) -> None:
    before = project.digest()
    project.changed(module, old, new)
    assert project.digest() == before


def test_modules_come_with_those_they_import_first(project: Project) -> None:
    files = list(function_source(f"{project.name}.features:ratio").files)
    assert files[-1] == f"{project.name}.features"
    assert set(files[:-1]) == {f"{project.name}.parts", f"{project.name}.whole"}


def test_nothing_is_run(project: Project) -> None:
    project.write("features", 'raise RuntimeError("imported")\ndef ratio(c):\n    return c\n')
    assert len(project.digest()) == 64


def test_functions_bound_in_other_ways(project: Project) -> None:
    text = """
        from functools import partial
        from .parts import scaled as again
        import {package}.parts

        def plain(x, by): return again(x, by)
        tripled = partial(plain, by=3)
        if True:
            def chosen(x): return tripled(x)
        def looped(x): return looped(chosen(x))
        def dotted(x): return {package}.parts.scaled(x, 1)
    """
    project.write("features", dedent(text).format(package=project.name))
    before = {name: project.digest(name) for name in ("tripled", "chosen", "looped", "dotted")}
    assert len(set(before.values())) == 4
    project.changed("parts", "SCALE = 1", "SCALE = 2")
    assert all(project.digest(name) != digest for name, digest in before.items())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module_here:f", "cannot import 'no_such_module_here': no such module"),
        ("raymlops.no_such_module:f", "cannot import 'raymlops.no_such_module': no such module"),
        ("raymlops.errors.deeper:f", "cannot import 'raymlops.errors.deeper'"),
        ("raymlops.errors:nothing", "cannot import 'raymlops.errors:nothing': 'raymlops.errors' has no 'nothing'"),
        ("math:sqrt", "cannot import 'math': it has no source file"),
    ],
)
def test_what_has_no_source_is_named(reference: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        function_source(reference)
    assert message in str(caught.value)


def test_a_file_that_is_no_python_is_named(project: Project) -> None:
    project.write("features", "def ratio(:")
    with pytest.raises(ConfigError, match=r"cannot import 'project_.*\.features': invalid syntax"):
        project.digest()
