"""How a table is cut into windows and steps: a part that trains, and the rest, which is replayed. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from raymlops.clock import from_us, to_us
from raymlops.config.section import render_duration
from raymlops.errors import ConfigError, NotEnoughRows
from raymlops.laboratory.intake.table import ROUND_LENGTHS

__all__ = ["Needs", "ReplayPlan", "Sample", "Wishes", "derive_plan", "parse_sample", "steps_of"]

_AIM, _FEWEST, _ROWS_A_WINDOW = 40, 6, 250
"""Windows that are aimed at, the fewest of them, and rows that a window should have for a verdict."""
_ASKED = 12_000
"""Requests of a whole replay, about, by default; on two cores it then takes some minutes."""
_LEFT = 2
"""Windows that must be left to replay."""
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """How many rows of a window are asked about: a number, or a share; neither: all."""

    rows: int | None = None
    share: float | None = None

    def draw(self, count: int, seed: int, window: int) -> list[int]:
        """Places of the rows of a window of ``count`` rows that are asked about, in order."""
        wanted = count if self.share is None else round(count * self.share)
        wanted = wanted if self.rows is None else min(wanted, self.rows)
        if wanted >= count:
            return list(range(count))
        return sorted(random.Random(f"{seed}/{window}").sample(range(count), wanted))  # noqa: S311 - nothing secret


def parse_sample(text: str) -> Sample:
    """Read ``--sample``: a number of rows in a window, a share such as ``0.1`` or ``10%``, or ``all``.

    Raises:
        ConfigError: It is something else.
    """
    if text == "all":
        return Sample()
    try:
        if text.isdigit() and int(text) > 0:
            return Sample(rows=int(text))
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ConfigError(f"sample must be rows in a window, a share such as 0.1 or 10%, or all, got {text!r}")
    return Sample(share=share)


@dataclass(frozen=True)
class Wishes:
    """The user's wishes; values of ``None`` are derived from the table.

    Attributes:
        window: Length of a window.
        anchor: An instant at which a window begins.
        training_windows: Windows that the first model is trained on.
        windows: Windows that are replayed, at most.
        steps: Lengths of a window's steps.
        sample: Rows of a window that are asked about.
        start: The replay begins with the window that holds this instant; what is before it trains.
        end: The replay ends with the last window that ends by this instant.
    """

    window: timedelta | None = None
    anchor: datetime | None = None
    training_windows: int | None = None
    windows: int | None = None
    steps: tuple[timedelta, ...] = ()
    sample: Sample | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Needs:
    """Needs of the first training run, see ``TrainingParameters``.

    Attributes:
        rows: Labelled rows in all.
        holdout: Length of the part that judges.
        holdout_rows: Labelled rows in it, and before it.
    """

    rows: int
    holdout: timedelta
    holdout_rows: int


@dataclass(frozen=True)
class ReplayPlan:
    """When what is replayed.

    Attributes:
        origin: Start of the first window.
        window: Length of a window.
        first: Windows that the first model is trained on.
        count: Windows that are replayed after them.
        steps: Lengths of a window's steps, which add up to a window.
        sample: Rows of a window that are asked about.
    """

    origin: datetime
    window: timedelta
    first: int
    count: int
    steps: tuple[timedelta, ...]
    sample: Sample

    @property
    def trained_until(self) -> datetime:
        """End of the training part, start of the replay."""
        return self.start(1)

    @property
    def end(self) -> datetime:
        """End of the replay."""
        return self.start(self.count + 1)

    @property
    def unit(self) -> str:
        """Name of a window."""
        return {timedelta(days=7): "week", _DAY: "day", timedelta(hours=1): "hour"}.get(self.window, "window")

    def start(self, number: int) -> datetime:
        """Start of a replayed window; 1 is the first."""
        return self.origin + (self.first + number - 1) * self.window


def derive_plan(at_us: _Times, known_us: _Times, wishes: Wishes, needs: Needs, label_delay: timedelta) -> ReplayPlan:
    """Cut a table into windows.

    A window has a round length such that there are about forty, or fewer where a window would have under 250 rows. A
    quarter of the windows train the first model, eight at most, and more where these hold too few rows. A last window
    that ends before its middle is left out.

    Args:
        at_us: When each row is asked about, ascending, in microseconds since 1970.
        known_us: When the label of each row became known; one that never does is later than all.
        wishes: The user's wishes.
        needs: Needs of the first training run.
        label_delay: How long after its row a label usually comes.

    Raises:
        ConfigError: The wishes cannot be met.
        NotEnoughRows: There are too few rows or windows.
    """
    window = wishes.window or _round_length(at_us)
    origin = _origin(int(at_us[0]), window, wishes.anchor)
    whole = _windows(origin, window, int(at_us[-1]))
    if wishes.end is not None:
        whole = min(whole, (wishes.end - origin) // window)
    first = _training_windows(at_us, known_us, origin, window, whole, wishes, needs)
    count = min(whole - first, wishes.windows or whole)
    if count < 1:
        raise ConfigError(f"the {first} windows that train must leave one of the {whole} to replay")
    steps = wishes.steps or steps_of(window, label_delay)
    if sum(steps, timedelta()) != window:
        raise ConfigError(
            f"replay.steps must add up to the window, {render_duration(window)}, got {[*map(render_duration, steps)]}"
        )
    sample = wishes.sample or Sample(rows=max(_ROWS_A_WINDOW, _ASKED // count))
    return ReplayPlan(origin, window, first, count, steps, sample)


def steps_of(window: timedelta, label_delay: timedelta) -> tuple[timedelta, ...]:
    """A window's steps: the first ends when the labels of the window before are in, two more share the rest."""
    wait = label_delay % window
    parts = [wait] if wait else []
    half = (window - wait) // 2
    return (*parts, half, window - wait - half)


def _round_length(at_us: _Times) -> timedelta:
    aim = min(_AIM, max(_FEWEST, len(at_us) // _ROWS_A_WINDOW))
    span = max(timedelta(microseconds=int(at_us[-1] - at_us[0])), ROUND_LENGTHS[0])
    return min(ROUND_LENGTHS, key=lambda length: abs(math.log(span / length / aim)))


def _origin(first_us: int, window: timedelta, anchor: datetime | None) -> datetime:
    """Start of the window that holds the first row: the anchor's grid, else whole days or parts of a day."""
    if anchor is not None:
        return anchor + (from_us(first_us) - anchor) // window * window
    grid = min(window, _DAY) // _MICROSECOND
    return from_us(first_us // grid * grid)


def _windows(origin: datetime, window: timedelta, last_us: int) -> int:
    last = from_us(last_us)
    whole = (last - origin) // window + 1
    return whole - 1 if last < origin + (whole - 1) * window + window / 2 else whole


def _training_windows(
    at_us: _Times, known_us: _Times, origin: datetime, window: timedelta, whole: int, wishes: Wishes, needs: Needs
) -> int:
    wanted = wishes.training_windows
    if wishes.start is not None:
        wanted = (wishes.start - origin) // window
        if not 1 <= wanted < whole:
            span = f"{origin + window} and {origin + whole * window}"
            raise ConfigError(f"from must lie between {span}, so that rows are left to train on, got {wishes.start}")
    if wanted is not None:
        problem = _lacking(at_us, known_us, origin + wanted * window, needs)
        if problem is not None:
            raise NotEnoughRows(f"the {wanted} windows before {origin + wanted * window} {problem}")
        return wanted
    problem = "are the whole table"
    for first in range(min(8, max(1, whole // 4)), whole - _LEFT + 1):
        problem = _lacking(at_us, known_us, origin + first * window, needs) or ""
        if not problem:
            return first
    raise NotEnoughRows(
        f"the table has {len(at_us)} rows in {max(whole, 0)} windows of {render_duration(window)}, too few to train on "
        f"some and replay {_LEFT}: all but the last {_LEFT} {problem}"
    )


def _lacking(at_us: _Times, known_us: _Times, until: datetime, needs: Needs) -> str | None:
    """Needs of the first training run that the rows before an instant do not meet, in words."""
    end = to_us(until)
    times = at_us[(at_us < end) & (known_us <= end)]
    if len(times) < needs.rows:
        return f"have {len(times)} labelled rows, and training needs {needs.rows}"
    judged = int((times > times[-1] - needs.holdout // _MICROSECOND).sum())
    holdout = render_duration(needs.holdout)
    if judged < needs.holdout_rows:
        return f"have {judged} labelled rows in the holdout of {holdout}, and training needs {needs.holdout_rows}"
    if len(times) - judged < needs.holdout_rows:
        return f"have {len(times) - judged} labelled rows before the holdout of {holdout}: set training.holdout_days"
    return None
