"""Contract suite of the browser of records; see ``raymlops.testing.metadata``."""

from __future__ import annotations

import pytest

from raymlops.errors import DataError
from raymlops.metadata import Metadata
from raymlops.records.runs import RunStatus, StepRun, StepStatus
from raymlops.testing.metadata_examples import (
    EPOCH,
    HOUR,
    example_bundle,
    example_draft,
    example_plan,
    example_run,
    example_window,
)

__all__ = ["RecordBrowserContract"]


class RecordBrowserContract:
    """What every ``RecordBrowser`` does."""

    def test_runs_come_a_page_at_a_time_newest_first(self, metadata: Metadata) -> None:
        for number in range(7):
            at = EPOCH + (number // 2) * HOUR  # some at the same instant
            metadata.runs.create_run(example_run(f"run-{number}", "a" if number % 3 else "b", at))
        metadata.runs.record_step("run-6", StepRun(step="s", status=StepStatus.FAILED, key="k", started_at=EPOCH))
        seen, before = [], None
        for _ in range(4):
            page = metadata.browser.run_page(before=before, limit=2)
            seen += [run.id for run in page.runs]
            before = page.before
        assert seen == [f"run-{number}" for number in reversed(range(7))]
        assert before is None
        assert metadata.browser.run_page(limit=1).runs[0].steps == ()
        metadata.runs.update_run("run-3", status=RunStatus.FAILED)
        assert [run.id for run in metadata.browser.run_page("b").runs] == ["run-6", "run-3", "run-0"]
        assert [run.id for run in metadata.browser.run_page("b", RunStatus.FAILED).runs] == ["run-3"]
        assert metadata.browser.run_page("nobody").runs == metadata.browser.run_page([]).runs == ()
        seen, before = [], None
        for _ in range(4):
            page = metadata.browser.run_page(["a", "b", "a"], None, before, 2)
            seen += [run.id for run in page.runs]
            before = page.before
        assert seen == [f"run-{number}" for number in reversed(range(7))], "as of all"
        assert [run.id for run in metadata.browser.run_page(["b", "nobody"]).runs] == ["run-6", "run-3", "run-0"]
        with pytest.raises(DataError, match="before"):
            metadata.browser.run_page(before="yesterday")

    def test_entries_come_a_page_at_a_time_by_subject_action_and_text(self, metadata: Metadata) -> None:
        for number in range(1, 8):
            subject = "even" if number % 2 == 0 else "odd"
            metadata.ledger.append_entry(subject, f"do-{number % 3}", f"why {number}", {"by": "Ann"}, key=str(number))
        first = metadata.browser.entry_page(limit=3)
        second = metadata.browser.entry_page(before=first.before, limit=3)
        assert [entry.sequence for entry in (*first.entries, *second.entries)] == [7, 6, 5, 4, 3, 2]
        assert [entry.sequence for entry in metadata.browser.entry_page(before=second.before).entries] == [1]
        assert metadata.browser.entry_page().before is None
        assert [entry.sequence for entry in metadata.browser.entry_page("even").entries] == [6, 4, 2]
        some = metadata.browser.entry_page(["odd", "even"], limit=3)
        assert [entry.sequence for entry in some.entries] == [7, 6, 5]
        assert [entry.sequence for entry in metadata.browser.entry_page(["odd", "even"], before=5).entries] == [
            4,
            3,
            2,
            1,
        ]
        assert metadata.browser.entry_page([]).entries == ()
        assert [entry.sequence for entry in metadata.browser.entry_page(action="do-1").entries] == [7, 4, 1]
        assert [entry.sequence for entry in metadata.browser.entry_page(text="WHY 5").entries] == [5]
        assert len(metadata.browser.entry_page(text="ann").entries) == 7
        assert metadata.browser.entry_page("even").entries[0] == metadata.ledger.entries("even")[-1]

    def test_versions_and_plans_come_newest_first(self, metadata: Metadata) -> None:
        for number in range(1, 5):
            metadata.models.register_version(example_draft(), key=str(number))
            metadata.plans.put_plan(example_plan(number))
        versions = metadata.browser.version_page("churn", limit=3)
        assert [version.version for version in versions] == [4, 3, 2]
        assert versions[0].path == metadata.models.get_version("churn", 4).path
        assert [version.version for version in metadata.browser.version_page("churn", 2)] == [1]
        assert [plan.number for plan in metadata.browser.plan_page("churn", 4, 2)] == [3, 2]
        assert metadata.browser.plan_page("nobody") == []

    def test_the_newest_of_many_subjects(self, metadata: Metadata) -> None:
        for model in ("churn", "delay"):
            for number in (1, 2, 3):
                metadata.plans.put_plan(example_plan(number, model).model_copy(update={"trial": None}))
                metadata.ledger.append_entry(model, "note", "", key=f"{model}-{number}")
                metadata.runs.create_run(example_run(f"{model}-{number}", model, EPOCH + number * HOUR))
                metadata.windows.put_window(example_window(model, EPOCH + number * HOUR, rows=number), b"")
        names = ["delay", "nobody", "churn"]
        plans = metadata.browser.newest_plans(names, 2)
        assert [(plan.model, plan.number) for plan in plans] == [("delay", 3), ("delay", 2), ("churn", 3), ("churn", 2)]
        entries = metadata.browser.newest_entries(names, 1)
        assert [entry.key for entry in entries] == ["delay-3", "churn-3"]
        assert [run.id for run in metadata.browser.newest_runs(names, 1)] == ["delay-3", "churn-3"]
        marks = metadata.browser.window_marks(names, 2)
        assert [(mark.model, mark.rows) for mark in marks] == [("delay", 3), ("delay", 2), ("churn", 3), ("churn", 2)]
        assert (marks[0].start, marks[0].end) == (EPOCH + 3 * HOUR, EPOCH + 4 * HOUR)
        earlier = metadata.browser.window_marks(["churn"], 5, EPOCH + 3 * HOUR)
        assert [mark.rows for mark in earlier] == [2, 1]
        assert metadata.browser.newest_plans([], 5) == []

    def test_more_subjects_than_one_statement_takes(self, metadata: Metadata) -> None:
        names = [f"model-{number:03}" for number in range(250)]
        metadata.windows.put_window(example_window(names[-1]), b"")
        assert [mark.model for mark in metadata.browser.window_marks(names, 1)] == [names[-1]]

    def test_bundles_come_newest_first(self, metadata: Metadata) -> None:
        for number in range(4):
            metadata.deployments.put_bundle(example_bundle(f"{number}" * 64, "a" if number < 3 else "b"))
        first = metadata.browser.bundle_page(limit=2)
        assert [bundle.digest[0] for bundle in first.bundles] == ["3", "2"]
        assert [bundle.digest[0] for bundle in metadata.browser.bundle_page(before=first.before).bundles] == ["1", "0"]
        assert [bundle.digest[0] for bundle in metadata.browser.bundle_page("b").bundles] == ["3"]
        assert [bundle.digest[0] for bundle in metadata.browser.bundle_page(["b", "nobody"]).bundles] == ["3"]
        assert metadata.browser.bundle_page([]).bundles == ()
        assert metadata.browser.models_of_pipelines() == {}
