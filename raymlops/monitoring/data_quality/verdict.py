"""Verdicts over the data of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Quality", "Verdict"]

Verdict = Literal["ok", "warn", "block"]
Finding = tuple[Verdict, str]
"""A verdict, and why."""


@dataclass(frozen=True)
class Quality:
    """Verdict over one window's data, and why, the worst first."""

    verdict: Verdict = "ok"
    reasons: tuple[str, ...] = ()
