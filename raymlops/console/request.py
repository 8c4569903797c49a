"""A request as pages see it, a page as they give it, and the addresses of pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from raymlops.console import PREFIX
from raymlops.console.asking import Asking
from raymlops.console.sight import ALL, Sight
from raymlops.errors import DataError

__all__ = ["Page", "PageRequest", "url"]

_LONGEST = 200


class PageRequest(NamedTuple):
    """A request for a page.

    Attributes:
        parts: Names in the address, in order: a model, a run ...
        query: Parameters of the address, in order.
        ask: Begins calls.
        sight: The viewer's sight, which limits the answers.
    """

    parts: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    ask: Asking
    sight: Sight = ALL

    def text(self, name: str) -> str:
        """A parameter without spaces around it; empty where it is not there.

        Raises:
            DataError: It is too long.
        """
        value = (self.many(name) or [""])[-1]
        if len(value) > _LONGEST:
            raise DataError(f"{name!r} must have at most {_LONGEST} characters, got {len(value)}")
        return value

    def many(self, name: str) -> list[str]:
        """All values of a parameter, without spaces around them."""
        return [value.strip() for key, value in self.query if key == name]

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number of 0 or more; ``None`` where it is not there.

        Raises:
            DataError: It is none.
        """
        value = self.text(name)
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise DataError(f"{name!r} must be a whole number of 0 or more, got {value!r}")
        return int(value)

    def instant(self, name: str) -> datetime | None:
        """A parameter that is an ISO 8601 instant, in UTC where it names no zone; ``None`` where it is not there.

        Raises:
            DataError: It is none.
        """
        value = self.text(name)
        if not value:
            return None
        try:
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise DataError(f"{name!r} must be an instant such as 2026-05-04T12:00, got {value!r}") from error


@dataclass(frozen=True)
class Page:
    """A page: a template and its values.

    Attributes:
        template: Its file, without ``.html.j2``.
        title: Of the page.
        values: The values of the template.
        live: Whether it may refresh itself: it holds no field to write in and nothing to open.
        to: The address of another page to go to instead.
    """

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False
    to: str | None = None


def url(*parts: object, **query: object) -> str:
    """The address of a page: its parts, and the parameters that are neither ``None`` nor empty."""
    path = "/".join([PREFIX, *(quote(str(part), safe="@") for part in parts)])
    given = {name: str(value) for name, value in query.items() if value is not None and value != ""}
    return f"{path}?{urlencode(given)}" if given else path
