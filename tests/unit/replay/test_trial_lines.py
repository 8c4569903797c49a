"""Each line about a trial is told once, whole, as it is written."""

from __future__ import annotations

import pytest

from raymlops.errors import NotFoundError
from raymlops.replay.trial_lines import TrialLines

_MARK = "2026-11-27 10:00:00 INFO raymlops.trials: "


def test_lines_are_told_once_as_they_come_and_only_those_about_trials() -> None:
    written, told = "", list[str]()

    def read() -> str:
        if not written:
            raise NotFoundError("no log of step 'tune'")
        return written

    lines = TrialLines(read, told.append)
    lines.look()
    written = f"==> tune.1 <==\n{_MARK}trial 1 of 2\n2026-11-27 10:00:00 WARNING xgboost: hm\n{_MARK}tri"
    lines.look()
    lines.look()
    assert told == ["trial 1 of 2"]
    written += "al 2 of 2\n"
    lines.look()
    assert told == ["trial 1 of 2", "trial 2 of 2"]


def test_a_log_that_cannot_be_read_is_no_silence() -> None:
    def read() -> str:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        TrialLines(read, print).look()
