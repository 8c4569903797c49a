"""From a project's source to its bundle: faults, the checks that every project gets, tests. Needs no platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.building.build import build_project, lock_directory
    from raymlops.building.checks.room import check_behaviour

__all__ = ["build_project", "check_behaviour", "lock_directory"]

__getattr__ = lazy_names(__name__, {"build": ["build_project", "lock_directory"], "checks.room": ["check_behaviour"]})
