"""What every section of the configuration is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

__all__ = ["Duration", "Section", "Share", "Span", "check_url", "is_loopback", "parse_duration", "render_duration"]

_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")


class Section(BaseModel):
    """A frozen part of the configuration; an unknown name is an error, never ignored."""

    REPLACED: ClassVar[Mapping[str, str]] = {}
    """Name of a setting of an older release -> what became of it, as the rest of a sentence."""
    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_duration(text: str) -> timedelta:
    """Read a duration: whole numbers with a unit, largest first or not, as in ``7d``, ``1h30m``, ``250ms``.

    Raises:
        ValueError: ``text`` is something else.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"must be whole numbers with a unit of {', '.join(_UNITS)}, as in 7d or 1h30m")
    return sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta())


def render_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads as ``duration``."""
    parts, rest = [], duration
    for unit, length in reversed(_UNITS.items()):
        number, rest = divmod(rest, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _to_timedelta(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("must carry its unit, as in 7d or 1h30m")


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta():
        raise ValueError("must not be negative")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than 0s")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_to_timedelta),
    AfterValidator(_not_negative),
    PlainSerializer(render_duration, return_type=str, when_used="json"),
]
"""A length of time, zero included; in a file, text such as ``7d`` or ``1h30m``."""

Span = Annotated[Duration, AfterValidator(_positive)]
"""A ``Duration`` longer than zero."""


def _share(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError("must lie between 0 and 1")
    return value


Share = Annotated[float, AfterValidator(_share)]
"""A fraction, 0 to 1."""


def check_url(url: str) -> None:
    """Refuse an address that the platform must not send to, or fetch from.

    Raises:
        ValueError: It is neither https nor http of this machine, or holds a password. The URL is not in the message.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold a user or a password")
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise ValueError("url must be https://HOST..., or http:// of this machine")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("url must be https, except on this machine")


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's loopback; an IPv6 one may have brackets."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
