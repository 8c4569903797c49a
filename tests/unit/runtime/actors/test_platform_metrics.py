from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raymlops.metadata import MetadataService
from raymlops.records.people.discovery import FeatureFreshness
from raymlops.records.runs import RunCount, RunStatus
from raymlops.runtime.actors.platform_metrics import LedgerPage, disk_page, features_page, runs_page

NOW = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def read(page: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(page)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    service = MetadataService(tmp_path / "metadata.db")
    yield service
    service.close()


def test_a_view_says_how_far_it_reaches() -> None:
    old = FeatureFreshness(
        view="spending@1", table="spending", table_version=4, rows=90, ingested_at=NOW - HOUR, online_rows_behind=7,
        age_s=60.0, ttl_s=30.0, verdict="stale", online_problem="redis is away",
    )  # fmt: skip
    found = read(features_page([old, FeatureFreshness(view="empty@1", table="empty")], NOW))
    assert found["raymlops_features_stale", "spending@1"] == 1
    assert found["raymlops_features_age_seconds", "spending@1"] == 60
    assert found["raymlops_features_online_rows_behind", "spending@1"] == 7
    assert found["raymlops_features_ingest_age_seconds", "spending@1"] == 3600
    assert [found["raymlops_features_online_problem", view] for view in ("spending@1", "empty@1")] == [1, 0]
    assert found["raymlops_features_rows", "empty@1"] == 0
    assert ("raymlops_features_stale", "empty@1") not in found
    assert found[("raymlops_features_views",)] == 2


def test_runs_are_counted_and_the_oldest_under_way_has_an_age() -> None:
    def count(status: RunStatus, runs: int, oldest: datetime) -> RunCount:
        return RunCount(pipeline="churn", status=status, runs=runs, oldest_at=oldest, newest_at=NOW)

    counts = [count(RunStatus.SUCCEEDED, 9, NOW - 99 * HOUR), count(RunStatus.RUNNING, 1, NOW - HOUR)]
    found = read(runs_page(counts, NOW))
    assert found["raymlops_runs_count", "churn", "succeeded"] == 9
    assert found["raymlops_runs_count", "churn", "failed"] == 0  # whoever alerts on an increase needs its beginning
    assert found["raymlops_runs_under_way_seconds", "churn"] == 3600
    assert found["raymlops_runs_newest_timestamp_seconds", "churn", "running"] == NOW.timestamp()
    assert read(runs_page(counts[:1], NOW))["raymlops_runs_under_way_seconds", "churn"] == 0


def test_the_ledger_is_read_on_and_its_chain_checked(metadata: MetadataService) -> None:
    page = LedgerPage(metadata.ledger)
    assert read(page.render()) == {
        ("raymlops_ledger_entries_total", "fall_back"): 0,
        ("raymlops_ledger_entries_total", "roll_back"): 0,
        ("raymlops_ledger_sequence",): 0,
        ("raymlops_ledger_intact",): 1,
    }
    for number in range(3):
        metadata.ledger.append_entry("churn", "promote" if number else "deploy", "why", key=str(number))
        found = read(page.render())
    assert found["raymlops_ledger_entries_total", "promote"] == 2
    assert (found[("raymlops_ledger_sequence",)], found[("raymlops_ledger_intact",)]) == (3, 1)


def test_an_entry_that_was_changed_is_told_from_then_on(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        metadata.ledger.append_entry("churn", "deploy", "why", key=str(number))
    entries = metadata.ledger.entries()
    entries[1] = entries[1].model_copy(update={"reason": "another"})
    monkeypatch.setattr(metadata.ledger, "entries", lambda after: entries[after:])
    page = LedgerPage(metadata.ledger)
    assert read(page.render())[("raymlops_ledger_intact",)] == 0
    assert read(page.render())[("raymlops_ledger_intact",)] == 0
    assert "entry 2 of the ledger" in caplog.text


def test_the_home_is_measured_by_directory(tmp_path: Path) -> None:
    (tmp_path / "models" / "churn").mkdir(parents=True)
    (tmp_path / "models" / "churn" / "1").write_bytes(b"x" * 1000)
    (tmp_path / "metadata.db").write_bytes(b"x" * 10)
    (tmp_path / "metadata.db-wal").write_bytes(b"x" * 5)
    (tmp_path / "made up by somebody").mkdir()
    page = disk_page(tmp_path)
    found = read(page)
    assert found["raymlops_home_directory_bytes", "models"] == 1000
    assert found["raymlops_home_directory_bytes", "runs"] == 0
    assert found[("raymlops_home_metadata_bytes",)] == 15
    assert 0 < found[("raymlops_home_disk_free_bytes",)] <= found[("raymlops_home_disk_total_bytes",)]
    assert "made up" not in page
