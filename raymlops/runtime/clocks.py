"""The clock a process runs on."""

from __future__ import annotations

from raymlops.clock import Clock, ReplayClock, SystemClock
from raymlops.config.platform import PlatformConfig

__all__ = ["build_clock"]


def build_clock(config: PlatformConfig) -> Clock:
    """The clock the configuration names; a replay clock is opened, not set."""
    if config.clock.kind == "system":
        return SystemClock()
    return ReplayClock(config.clock.path or config.home / "clock")
