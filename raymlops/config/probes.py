"""How the loop finds out what staleness costs, and what a retraining is worth."""

from __future__ import annotations

from pydantic import Field

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["ProbesConfig", "RegretConfig"]


class RegretConfig(Section):
    """A retraining is due when what staleness costs exceeds what a retraining costs."""

    price: float = Field(0.05, gt=0)
    """Of a retraining, in losses of one window: with 0.05 it pays if it saves a twentieth of the loss of a window."""


class ProbesConfig(Section):
    """Small models of a fixed recipe, one a window, that show how models of each age do."""

    max_rows: int = Field(20_000, ge=100)
    """A probe is fitted on a sample of so many rows, and scored on so many rows of a window."""
    deadline: Span = _d("2m")
    """Probes of a window that take longer are given up; the loop goes on by its other triggers."""
    attempts: int = Field(2, ge=1)
    """How often the probes of one window are tried; after that, they wait for the next window."""
