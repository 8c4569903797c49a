"""Names of time zones."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from raymlops.errors import ConfigError

__all__ = ["check_time_zone"]


def check_time_zone(owner: str, zone: object) -> None:
    """A time zone must be one of the IANA database, such as ``Europe/Berlin``.

    Raises:
        ConfigError: it is not.
    """
    try:
        ZoneInfo(zone if isinstance(zone, str) else "")
    except (OSError, ValueError, KeyError) as error:
        rule = "time_zone must be a name such as 'Europe/Berlin' or 'UTC'"
        raise ConfigError(f"{owner}: {rule}, got {zone!r}") from error
