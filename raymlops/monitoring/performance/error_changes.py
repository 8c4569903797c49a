"""Abrupt changes of the champion's loss, watched row by row from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from raymlops.clock import from_us
from raymlops.monitoring.performance.error_stream import ErrorStream
from raymlops.records.windows import ErrorChange, ErrorStreamState, WindowRecord

if TYPE_CHECKING:
    from raymlops.monitoring.performance.realised import VersionRows

__all__ = ["stream_before", "watch_errors"]

STRIDE = 16


def stream_before(windows: Sequence[WindowRecord], champion: int) -> ErrorStreamState | None:
    """State of a champion's stream at the end of the last window; ``None`` where another version was champion."""
    return windows[-1].error_stream if windows and windows[-1].champion == champion else None


def watch_errors(
    champion: VersionRows | None, before: ErrorStreamState | None
) -> tuple[tuple[ErrorChange, ...], ErrorStreamState | None]:
    """Go on with the stream of losses, in the order of event time.

    The windows of one champion are one stream: a change is found rows after it happened, whatever the length of a
    window, and one that falls together with a window's end is no special case. The detector's default threshold gives
    a million rows and more between two false alarms (see ``ErrorStream``).

    Args:
        champion: The champion's rows of a window; rows without a label are left out.
        before: State of the same champion's stream at the window's start; ``None``: it begins here.

    Returns:
        The changes signalled in this window, and the state of the stream at its end.
    """
    if champion is None:
        return (), before
    losses = champion.losses()
    stream = ErrorStream(stride=STRIDE)
    if before is not None and before.metric == losses.metric:
        stream.resume(before)
    times = champion.events["event_time"].cast(pa.int64()).to_numpy()
    known = np.flatnonzero(np.isfinite(losses.values))
    order = known[np.argsort(times[known], kind="stable")]
    changes = []
    for place in range(0, order.size, STRIDE):
        rows, first, mean = order[place : place + STRIDE], stream.rows, stream.mean
        for position in stream.update(losses.values[rows]):
            changes.append(ErrorChange(at=from_us(int(times[rows[position - first]])), before=mean, after=stream.mean))
    return tuple(changes), stream.state(losses.metric)
