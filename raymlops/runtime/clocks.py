"""The clock a process runs on."""

from __future__ import annotations

from raymlops.clock import Clock, ReplayClock, SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError

__all__ = ["build_clock"]


def build_clock(config: PlatformConfig) -> Clock:
    """The clock the configuration names; a replay clock is opened, and made where there is none and ``start`` is set.

    Raises:
        ConfigError: There is no replay clock, and none can be made.
    """
    if config.clock.kind == "system":
        return SystemClock()
    path = config.clock.path or config.home / "clock"
    try:
        return ReplayClock.opened(path, config.clock.start)
    except FileNotFoundError as error:
        rule = "set clock.start, the instant at which it begins"
        raise ConfigError(f"the replay clock {path} does not exist: {rule}", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"the replay clock {path} cannot be opened: {error}", path=str(path)) from error
