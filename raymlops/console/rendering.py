"""Templates of the console: every value in them is escaped, and none holds a style or a script of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from raymlops.console.request import url
from raymlops.console.static_files import static_url

__all__ = ["render", "span_text"]

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def render(template: str, values: Mapping[str, Any]) -> bytes:
    """A page, encoded; lone surrogates, which no encoding has, become question marks."""
    return _environment().get_template(f"{template}.html.j2").render(values).encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raymlops.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"url": url, "static": static_url}
    environment.filters |= {
        "coded": coded,
        "instant": instant_element,
        "span": span_text,
        "figure": figure,
        "json_text": json_text,
        "pretty": pretty,
        "words": lambda text: str(text).replace("_", " "),
    }
    return environment


def json_text(value: object) -> str:
    """JSON for an attribute, in which it is escaped as any text; lone surrogates become question marks."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def pretty(value: object) -> str:
    """JSON values as people read them; what JSON has no form for, as text."""
    return json.dumps(value, default=str, indent=2, ensure_ascii=False)


def coded(text: str) -> Markup:
    """Text whose parts between backticks are code, such as commands; escaped."""
    *pairs, last = text.split("`")
    if len(pairs) % 2:
        return escape(text)
    parts = [Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(pairs)]
    return Markup("").join([*parts, escape(last)])


def instant_element(at: datetime | None) -> Markup | str:
    """An instant, to the minute, in UTC; machines read it exactly."""
    if at is None:
        return "-"
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(), f"{exact:%Y-%m-%d %H:%M:%S} UTC", f"{exact:%d %b %Y %H:%M}"
    )


def span_text(span: timedelta | float | None) -> str:
    """A span of time by its largest unit: ``3.2 h``."""
    if span is None:
        return "-"
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    for length, unit in _UNITS:
        if abs(seconds) >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def figure(value: object) -> str:
    """A number as people read it: thousands set apart, four digits of a fraction; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if math.isfinite(value) else "-"
