"""Templates and style sheets of the pages: files of this package, put whole into one page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

__all__ = ["allowed_by", "page_file", "page_style", "page_template"]

_HERE = "raymlops.monitoring.report"


@cache
def page_template(package: str, name: str = "page.html.j2") -> Template:
    """A template of a package; every value in it is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(page_file(name, package))


@cache
def page_file(name: str, package: str = _HERE) -> str:
    """The text of a file of a package."""
    return files(package).joinpath(name).read_text("utf-8")


def page_style() -> str:
    """The style sheet that every page has within it: light, dark, narrow and print."""
    return page_file("page.css")


def allowed_by(text: str) -> str:
    """The hash by which a page's policy allows this style or script, and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
