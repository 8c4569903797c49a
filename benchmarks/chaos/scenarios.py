"""What a campaign does besides killing: a full disk, an endless run, a webhook that hangs, a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.chaos.campaign import Campaign
from benchmarks.chaos.journal import now
from benchmarks.chaos.operated import Receiver
from raymlops.clock import ReplayClock

__all__ = ["SCENARIOS", "Scenario", "cpus_taken"]

_DISK = "1400m"
"""Of the home; ``up`` asks for 1 GiB."""
_FULL_S, _SILENT_S, _JUMPED_S = 20.0, 30.0, 20.0
_RUN_DEADLINE_S = 30
_HEARD_WITHIN_S = 60.0
_HOG_WITHIN_S = 60.0
_TEN_YEARS = timedelta(days=3653)


@dataclass(frozen=True)
class Scenario:
    """A campaign of one trouble, on a platform that is set up for it."""

    act: Callable[[Campaign, Receiver], None]
    home: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext()
    """Makes the home what it has to be, and undoes that."""
    settings: dict[str, Any] = field(default_factory=dict)
    project: bool = False


@contextmanager
def _small_disk(home: Path) -> Iterator[None]:
    """A home on a disk of its own; only root may mount one."""
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=700", "tmpfs", str(home)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", str(home)], check=True, timeout=30)


def _fill_disk(campaign: Campaign, receiver: Receiver) -> None:
    del receiver
    home = campaign.operated.home
    filler = home / "filler"
    with campaign.trouble("disk", "full"):
        with filler.open("wb") as file:
            # the platform writes meanwhile: what it frees is taken, too
            while (free := os.statvfs(home).f_bavail) > 0:
                size = file.seek(0, os.SEEK_END)
                try:
                    os.posix_fallocate(file.fileno(), size, free * os.statvfs(home).f_frsize)
                except OSError:
                    break
        campaign.wait(_FULL_S)
        filler.unlink()


def _run_for_ever(campaign: Campaign, receiver: Receiver) -> None:
    del receiver
    projects = str(campaign.out / "projects")
    with campaign.trouble("run", "endless"):
        campaign.during(lambda: campaign.operated.client("run", "--endless", "--project", projects))
        campaign.wait(_RUN_DEADLINE_S + 10.0)


def _hang_webhook(campaign: Campaign, receiver: Receiver) -> None:
    with campaign.trouble("webhook", "hanging") as hung:
        receiver.talks.clear()
        campaign.wait(_SILENT_S)
        heard = receiver.heard
        receiver.talks.set()
        deadline = now() + _HEARD_WITHIN_S
        while receiver.heard == heard and now() < deadline:
            campaign.wait(0.2)
        if receiver.heard == heard:
            hung.append(f"alerts: none came within {_HEARD_WITHIN_S:g} s after the webhook answered again")


class _Clock:
    """A replay clock that goes with the machine's, until it jumps."""

    def __init__(self, path: Path) -> None:
        self._clock = ReplayClock(path, datetime.now(UTC))
        self._ahead = timedelta(0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        while not self._done.wait(0.05):
            self._clock.advance_to(datetime.now(UTC) + self._ahead)

    def jump(self, by: timedelta) -> None:
        self._ahead += by

    def close(self) -> None:
        self._done.set()
        self._thread.join()


_clocks: dict[Path, _Clock] = {}


@contextmanager
def _replayed(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    _clocks[home] = _Clock(home / "clock")
    try:
        yield
    finally:
        _clocks.pop(home).close()


def _jump_clock(campaign: Campaign, receiver: Receiver) -> None:
    del receiver
    with campaign.trouble("clock", "ten years on"):
        _clocks[campaign.operated.home].jump(_TEN_YEARS)
        campaign.wait(_JUMPED_S)


@contextmanager
def cpus_taken(campaign: Campaign) -> Iterator[None]:
    """Somebody else's actor holds every CPU that the platform does not."""
    log = campaign.out / "hog.log"
    hog = campaign.operated.start([sys.executable, "-m", "benchmarks.chaos.client", "hog"], log)
    try:
        deadline = now() + _HOG_WITHIN_S
        while "holds" not in log.read_text():
            if hog.poll() is not None or now() > deadline:
                raise TimeoutError(f"the CPUs were not taken within {_HOG_WITHIN_S:g} s: {log.read_text()[-300:]}")
            campaign.wait(0.2)
        campaign.take_as_normal()
        yield
    finally:
        assert hog.stdin is not None
        hog.stdin.close()
        hog.wait(30.0)


SCENARIOS = {
    "full-disk": Scenario(_fill_disk, home=_small_disk),
    "endless-run": Scenario(_run_for_ever, settings={"cluster": {"num_cpus": 4, "run_deadline": "30s"}}, project=True),
    "hanging-webhook": Scenario(_hang_webhook),
    "clock-jump": Scenario(_jump_clock, home=_replayed, settings={"clock": {"kind": "replay"}}),
}
