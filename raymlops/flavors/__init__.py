"""Model flavors: one file for each library whose models the platform trains, packages, serves and judges.

A new flavor is one module here with a ``FLAVOR``, and its line in ``_MODULES``; a flavor outside of this package is an
entry point of the group ``raymlops.flavors``. ``raymlops.testing.flavors`` is the contract that each must pass.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Any

from raymlops.errors import DataError, ModelLoadFailed
from raymlops.flavors.guard import foreign_errors, kind_of

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Family, Flavor

__all__ = ["families", "flavor_named", "flavor_of", "flavors", "library_names", "parse"]

_MODULES = {
    "xgboost": "raymlops.flavors.xgboost",
    "lightgbm": "raymlops.flavors.lightgbm",
    "onnx": "raymlops.flavors.onnx",
    "python": "raymlops.flavors.python_model",
    "sklearn": "raymlops.flavors.sklearn",  # the last: other libraries' estimators are scikit-learn's, too
}


@cache
def flavor_named(name: str) -> Flavor:
    """The flavor of a manifest.

    Raises:
        ModelLoadFailed: There is none of that name.
    """
    if name in _MODULES:
        found: Flavor = import_module(_MODULES[name]).FLAVOR
        return found
    for point in entry_points(group="raymlops.flavors", name=name):
        flavor: Flavor = point.load()
        return flavor
    raise ModelLoadFailed(f"flavor must be one of {sorted(_MODULES)} or installed, got {name!r}", flavor=name)


def flavors() -> list[Flavor]:
    """Every flavor, those of other packages first."""
    others = sorted({point.name for point in entry_points(group="raymlops.flavors")} - _MODULES.keys())
    return [flavor_named(name) for name in (*others, *_MODULES)]


def flavor_of(estimator: Any) -> Flavor:
    """The flavor that an estimator is of.

    Raises:
        DataError: Of none.
    """
    for flavor in flavors():
        if flavor.owns(estimator):
            return flavor
    kinds = "XGBoost, LightGBM or scikit-learn, or the path of an .onnx file, to which other libraries export"
    raise DataError(f"an estimator must be one of {kinds}; got {kind_of(estimator)}")


@cache
def families() -> dict[str, Family]:
    """Family -> how it is built and fitted, of every flavor."""
    return {name: family for flavor in flavors() for name, family in flavor.families.items()}


def library_names() -> tuple[str, ...]:
    """The installed distributions that change what is fitted or answered."""
    return tuple(sorted(name for flavor in flavors() for name in flavor.libraries if _installed(name)))


def parse(name: str, content: bytes) -> Any:
    """The model in bytes whose hash was verified.

    Raises:
        ModelLoadFailed: They cannot be read, or hold what they must not hold.
    """
    flavor = flavor_named(name)
    if not content:
        raise ModelLoadFailed(f"the {name} file is empty")  # XGBoost would end the process
    problem = f"the {name} file cannot be read"
    with foreign_errors(problem, ModelLoadFailed):
        try:
            return flavor.parse(content)
        except ImportError as error:
            raise ModelLoadFailed(f"a {name} model needs {error.name}: pip install 'raymlops[{name}]'") from error
        except DataError as error:  # of what the file holds
            raise ModelLoadFailed(f"{problem}: {error}") from error


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
