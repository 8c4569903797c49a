"""Packages whose names are loaded when they are asked for: who needs one of them does not pay for all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package.

    No module may be called like one of the names: importing it would put it in the name's place.

    Args:
        package: The package's ``__name__``.
        modules: The names that each module of the package defines; ``raymlops.`` begins the name of a module elsewhere.
    """
    where = {name: module for module, names in modules.items() for name in names}
    if clashes := where.keys() & modules.keys():
        raise ValueError(f"names of {package} must not be modules of it, got {sorted(clashes)}")

    def load(name: str) -> object:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = where[name]
        value = getattr(import_module(module if module.startswith("raymlops.") else f"{package}.{module}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
