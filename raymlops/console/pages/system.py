"""System: nodes, actors, what waits, versions, and the settings in force."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from raymlops.config.reading.listing import list_settings
from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources
from raymlops.records.runs import RunStatus

__all__ = ["system_page"]

_WAITING = 20
_PACKAGES = ("ray", "xgboost", "lightgbm", "scikit-learn", "pyarrow", "deltalake", "sqlalchemy", "pydantic")


def system_page(sources: Sources, request: PageRequest) -> Page:
    """The system: processes by node, and the settings in force."""
    ask, browser = request.ask, sources.metadata.browser
    nodes = ask("Ray", sources.cluster.nodes)
    actors = ask("Ray", sources.cluster.actors)
    free = ask("Ray", sources.cluster.free_cpus)
    waiting = ask("the metadata actor", browser.run_page, None, RunStatus.PENDING, None, _WAITING)
    running = ask("the metadata actor", browser.run_page, None, RunStatus.RUNNING, None, _WAITING)
    told = ask("the home", sources.setting_sources)
    found = [each.get() for each in (running, waiting)]
    text, given = request.text("text"), request.text("given") != ""
    settings = list_settings(sources.config, told.get() or {})
    shown = [one for one in settings if text.casefold() in one.name.casefold() and not (given and one.default)]
    values = {
        "nodes": nodes.get() or [],
        "actors": actors.get() or [],
        "free": free.get() or {},
        "runs": [run for page in found if page is not None for run in page.runs],
        "versions": {"RayMLOps": sources.version, "Python": platform.python_version(), **_versions()},
        "settings": shown,
        "text": text,
        "given": given,
        "home": sources.config.home,
    }
    return Page("system", "System", values)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
