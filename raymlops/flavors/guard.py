"""Errors of foreign libraries and estimators become one line of ours here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raymlops.errors import DataError, RaymlopsError

__all__ = ["foreign_errors", "in_one_line", "kind_of"]

_LONGEST = 300


@contextmanager
def foreign_errors(problem: str, kind: type[RaymlopsError] = DataError) -> Iterator[None]:
    """Raise whatever foreign code raises as ours, with the first line of what it said.

    Args:
        problem: What could not be done, such as ``the estimator cannot be packaged``.
        kind: What to raise.

    Raises:
        RaymlopsError: Of ``kind``, where something that is not ours was raised; that is the cause.
    """
    try:
        yield
    except (RaymlopsError, MemoryError):
        raise
    except Exception as error:  # libraries of estimators have no class of errors in common
        raise kind(f"{problem}: {in_one_line(error)}", error=type(error).__name__) from error


def in_one_line(error: BaseException) -> str:
    """``Type: message`` of an error, whose further lines are left out."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_LONGEST]}" if lines else type(error).__name__


def kind_of(given: Any) -> str:
    """What somebody gave instead of an estimator, in words."""
    if isinstance(given, type):
        return f"the class {given.__name__}, not an object of it"
    if isinstance(given, str):
        return f"the text {given[:100]!r}"
    kind = type(given)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
