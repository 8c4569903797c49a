"""Style sheets and scripts, from files of packages; addresses carry a hash, so that browsers may keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from raymlops.console import PREFIX

__all__ = ["static_file", "static_url"]

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_FILES = {
    "report.css": ("raymlops.monitoring.report", "page.css"),
    "report.js": ("raymlops.monitoring.report", "page.js"),
    "console.css": ("raymlops.console", "static/console.css"),
    "console.js": ("raymlops.console", "static/console.js"),
    "htmx.js": ("raymlops.console", "static/vendored/htmx.min.js"),
    "dagre.js": ("raymlops.console", "static/vendored/dagre.min.js"),
}
"""Name in the address -> package and file; nothing else is served."""


@cache
def static_file(name: str) -> tuple[bytes, str] | None:
    """A file's bytes and content type; ``None`` where there is no such file."""
    if name not in _FILES:
        return None
    package, path = _FILES[name]
    return files(package).joinpath(path).read_bytes(), _TYPES[name.rpartition(".")[2]]


@cache
def static_url(name: str) -> str:
    """The address of a file, with the hash of what is in it."""
    found = static_file(name)
    if found is None:
        raise KeyError(name)
    return f"{PREFIX}/static/{name}?v={hashlib.sha256(found[0]).hexdigest()[:12]}"
