"""The replay clock on nodes that do not have its file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from raymlops.clock import ReplayClock, SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.runtime.cluster import platform_clock
from raymlops.runtime.cluster.platform_clock import build_clock

pytestmark = pytest.mark.ray
T = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformConfig:
    """A platform that is up, seen from node n2, which has no file of its clock."""
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(platform_clock, "_platform_is_up", lambda: True)
    monkeypatch.setattr(platform_clock, "ActorProxy", lambda name: SimpleNamespace(now=lambda: T))
    monkeypatch.setattr(platform_clock, "this_node", lambda: "n2")
    return PlatformConfig(home=tmp_path / "home", clock={"kind": "replay", "start": T - 30 * DAY})


def test_another_node_begins_at_the_present_instant_and_follows(config: PlatformConfig) -> None:
    clock = build_clock(config)
    assert clock.now() == T, "not where the replay began"
    follower = platform_clock._NodeClock(config.home / "clock")
    follower.advance_to(T + DAY)
    assert clock.now() == build_clock(config).now() == T + DAY
    follower.advance_to(T)
    assert clock.now() == T + DAY, "a clock never runs backwards"
    assert not (config.home / "clock").exists()


def test_a_node_that_is_told_before_it_asks_begins_at_what_it_was_told(config: PlatformConfig) -> None:
    platform_clock._NodeClock(config.home / "clock").advance_to(T + DAY)
    assert build_clock(config).now() == T + DAY


def test_a_node_with_the_file_of_the_clock_has_no_copy(config: PlatformConfig) -> None:
    own = ReplayClock(config.home / "clock", T - DAY)
    platform_clock._NodeClock(config.home / "clock").advance_to(T)
    assert build_clock(config).now() == own.now() == T - DAY
    assert [path.name for path in config.home.iterdir()] == ["clock"]


def test_without_a_platform_the_clock_is_this_nodes_own(
    config: PlatformConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform_clock, "_platform_is_up", lambda: False)
    assert build_clock(config).now() == T - 30 * DAY
    with pytest.raises(ConfigError, match=r"does not exist: set clock\.start"):
        build_clock(PlatformConfig(home=config.home / "other", clock={"kind": "replay"}))
    assert isinstance(build_clock(PlatformConfig(home=config.home)), SystemClock)
