from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from raymlops.records.bundles import BundleManifest, ProjectSpec

START = datetime(2013, 1, 7, tzinfo=UTC)
WEEK, DAY = timedelta(days=7), timedelta(days=1)


def bundle(*segments: str) -> BundleManifest:
    project = ProjectSpec(name="p", model="m", definitions="d:D", service="s", spine="d:s", segments=segments)
    return BundleManifest(
        digest="b" * 64, project=project, archive_sha256="", files={}, lock_sha256="", tests={}, built_at=START
    )


def closed(world: Any, **more: Any) -> Any:
    monitor, events = world.monitor(), world.events(0, 900, **more)
    monitor.record_events("m", events, "e")
    monitor.record_labels("m", world.labels(events), "l")
    (record,) = monitor.close_windows("m", START + WEEK + DAY)
    return record, monitor


def test_a_champion_is_judged_on_the_segments_of_its_project(make_world: Callable[..., Any]) -> None:
    """Beside those of the platform, each once; in the window's performance and in its profiles."""
    world = make_world(label_delay=DAY, segments={"declared": {"m": ("x > 0",)}})
    version = world.register(1)
    world.metadata.bundles["b" * 64] = bundle("kind", "x > 0", "y <= 0")
    world.metadata.versions["m", 1] = version.model_copy(update={"bundle": "b" * 64})
    record, monitor = closed(world)
    expected = {"x > 0", "y <= 0", *(f"kind = 'k{i}'" for i in range(6))}
    assert {segment.segment for segment in record.segments if segment.declared} == expected
    (period,) = monitor.rollup("m")
    assert {part.segment for part in period.parts} == {"", *expected}


def test_a_version_registered_by_hand_has_those_of_the_platform(make_world: Callable[..., Any]) -> None:
    world = make_world(label_delay=DAY, segments={"declared": {"m": ("x > 0",)}})
    version = world.register(1)
    world.metadata.versions["m", 1] = version.model_copy(update={"bundle": "elsewhere"})
    record, _ = closed(world)
    assert [segment.segment for segment in record.segments if segment.declared] == ["x > 0"]


def test_a_segment_that_cannot_be_judged_is_a_warning(make_world: Callable[..., Any]) -> None:
    world = make_world(label_delay=DAY)
    version = world.register(1)
    world.metadata.bundles["b" * 64] = bundle("nothing > 1", "x >")
    world.metadata.versions["m", 1] = version.model_copy(update={"bundle": "b" * 64})
    record, _ = closed(world)
    assert record.quality == "warn"
    assert any("names columns that are not logged: ['nothing']" in reason for reason in record.quality_reasons)
    assert any("x >" in reason for reason in record.quality_reasons)


def test_a_project_without_segments_is_the_project_it_was() -> None:
    """Its digest, and so that of a bundle built by an earlier release, stays."""
    assert "segments" not in bundle().project.model_dump(mode="json")
    assert bundle("x").project.model_dump(mode="json")["segments"] == ["x"]
