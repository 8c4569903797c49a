"""What a project declares, imports and has installed."""

from __future__ import annotations

import numpy
import pytest
from packaging.requirements import Requirement

from raymlops.delivery.lock import installed_distributions
from raymlops.delivery.packages.declared import closure, declared_requirements, require_declared
from raymlops.delivery.project import SourceFile
from raymlops.errors import ConfigError


def files(**named: str) -> dict[str, SourceFile]:
    """Files by their name, with ``__`` for a slash and ``_DOT_`` for a dot."""
    return {
        name.replace("__", "/").replace("_DOT_", "."): SourceFile(text.encode(), False) for name, text in named.items()
    }


def check(**named: str) -> None:
    given = files(**named)
    require_declared(given, declared_requirements(given), installed_distributions())


def test_requirements_are_read_from_both_files() -> None:
    pyproject = '[project]\nname = "p"\ndependencies = ["rich>=14"]\n'
    given = files(
        requirements_DOT_txt="# ours\nraymlops[demo]  # with data\n\nnumpy>=2\n", pyproject_DOT_toml=pyproject
    )
    assert list(map(str, declared_requirements(given))) == ["raymlops", "raymlops[demo]", "numpy>=2", "rich>=14"]
    assert list(map(str, declared_requirements({}))) == ["raymlops"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--index-url https://example.org/simple", "a line must name a package and its versions"),
        ("-r other.txt", "a line must name a package and its versions"),
        ("tiny @ https://example.org/tiny.whl", "'tiny' must be named by its version, not by an address"),
    ],
)
def test_a_line_with_an_address_is_refused(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        declared_requirements(files(requirements_DOT_txt=line))
    with pytest.raises(ConfigError, match=r"pyproject\.toml: must be TOML"):
        declared_requirements(files(pyproject_DOT_toml="= 1"))


def test_what_is_imported_must_be_declared() -> None:
    check(p__a_DOT_py="import os\nimport numpy as np\nfrom p import b\nfrom . import c\nimport raymlops.features")
    with pytest.raises(
        ConfigError, match=r"^a\.py: imports 'moto', which 'moto' has, and the project does not declare it: name"
    ):
        check(a_DOT_py="def late():\n    import moto.server\n")
    check(a_DOT_py="import moto", requirements_DOT_txt="moto[server]>=5\n")
    with pytest.raises(ConfigError, match="imports 'nobody_has_this', and the project does not declare it"):
        check(a_DOT_py="import nobody_has_this")


def test_imports_that_need_not_succeed_do_not_count() -> None:
    check(
        a_DOT_py="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import moto\n"
        "try:\n    import nobody_has_this\nexcept ImportError:\n    pass\n",
        broken_DOT_py="import (",
        notes_DOT_txt="import moto",
    )


def test_an_extra_of_the_platform_declares_what_it_brings() -> None:
    with pytest.raises(ConfigError, match="which 'lightgbm' has"):
        check(a_DOT_py="import lightgbm")
    check(a_DOT_py="import lightgbm", requirements_DOT_txt="raymlops[lightgbm]\n")


def test_the_closure_is_what_is_installed() -> None:
    installed = installed_distributions()
    found = closure([Requirement("pandas"), Requirement("ghost; python_version < '3'")], installed)
    assert found["numpy"] == numpy.__version__
    assert "ghost" not in found
    assert "moto" not in found
    whole = closure([Requirement("raymlops")], installed)
    assert {"ray", "aiohttp", "grpcio"} <= whole.keys()
    assert "lightgbm" in closure([Requirement("raymlops[lightgbm]")], installed)
    assert "lightgbm" not in whole


@pytest.mark.parametrize(
    ("requirement", "told"),
    [
        ("ghost>=1", "the project needs ghost>=1, and it is not installed"),
        ("numpy<1", f"the project needs numpy<1, and {numpy.__version__} is installed"),
    ],
)
def test_what_is_needed_must_be_installed(requirement: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        closure([Requirement(requirement)], installed_distributions())
