"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

_FEWEST = 25


def examples(count: int) -> int:
    """As many as asked for; in the profile ``quick`` of ``tests/conftest.py`` that share of them, at least 25."""
    default = settings().max_examples
    return max(min(count, _FEWEST), count * default // 100)
