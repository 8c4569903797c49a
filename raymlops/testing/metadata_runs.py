"""Contract suites of runs, artifacts and lineage; see ``raymlops.testing.metadata``."""

from __future__ import annotations

import pytest

from raymlops.errors import AlreadyRegistered, DataError, InvalidTransition, NotFoundError, RunNotFound
from raymlops.metadata import Metadata
from raymlops.records.runs import RunStatus, StepRun, StepStatus
from raymlops.testing.metadata_examples import EPOCH, HOUR, MovableClock, example_run

__all__ = ["ArtifactStoreContract", "ContextStoreContract", "RunStoreContract"]


class RunStoreContract:
    """What every ``RunStore`` does."""

    def test_a_run_is_read_back_as_created(self, metadata: Metadata) -> None:
        created = metadata.runs.create_run(example_run())
        assert created == example_run() == metadata.runs.get_run("run-1")

    def test_create_is_idempotent_by_id_and_never_resets(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        running = metadata.runs.update_run("run-1", status=RunStatus.RUNNING)
        assert metadata.runs.create_run(example_run()) == running

    def test_an_id_belongs_to_one_pipeline(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        with pytest.raises(AlreadyRegistered, match="run-1"):
            metadata.runs.create_run(example_run(pipeline="other"))

    def test_a_final_run_never_reopens(self, metadata: Metadata, clock: MovableClock) -> None:
        metadata.runs.create_run(example_run())
        clock.advance_to(EPOCH + HOUR)
        done = metadata.runs.update_run("run-1", status=RunStatus.SUCCEEDED, result={"version": 3})
        assert done.ended_at == EPOCH + HOUR
        clock.advance_to(EPOCH + 2 * HOUR)
        assert metadata.runs.update_run("run-1", status="succeeded", result={"version": 3}) == done
        changes: tuple[dict[str, object], ...] = ({"status": RunStatus.RUNNING}, {"result": {}}, {"error": "x"})
        for change in changes:
            with pytest.raises(InvalidTransition, match="run-1"):
                metadata.runs.update_run("run-1", **change)
        assert metadata.runs.update_run("run-1", job_id="job-7").job_id == "job-7"
        with pytest.raises(InvalidTransition):
            metadata.runs.update_run("run-1", job_id="job-8")
        assert metadata.runs.get_run("run-1") == done.model_copy(update={"job_id": "job-7"})

    def test_a_running_run_does_not_become_pending(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        metadata.runs.update_run("run-1", status=RunStatus.RUNNING)
        with pytest.raises(InvalidTransition):
            metadata.runs.update_run("run-1", status=RunStatus.PENDING)

    def test_wrong_changes_are_refused_and_change_nothing(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        changes = ({"id": "x"}, {"steps": ()}, {"nope": 1}, {"status": "odd"}, {"result": {"x": object()}})
        for change in changes:
            with pytest.raises(DataError, match=r"run-1|JSON"):
                metadata.runs.update_run("run-1", **change)
        assert metadata.runs.get_run("run-1") == example_run()

    def test_unknown_runs_are_named(self, metadata: Metadata) -> None:
        step = StepRun(step="tune", status=StepStatus.RUNNING, key="k", started_at=EPOCH)
        for call in (
            lambda: metadata.runs.get_run("ghost"),
            lambda: metadata.runs.update_run("ghost", status=RunStatus.RUNNING),
            lambda: metadata.runs.record_step("ghost", step),
        ):
            with pytest.raises(RunNotFound, match="ghost"):
                call()

    def test_steps_are_upserted_by_name_and_attempt(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        first = StepRun(step="tune", status=StepStatus.RUNNING, key="k", started_at=EPOCH)
        failed = first.model_copy(update={"status": StepStatus.FAILED, "error": "boom"})
        second = first.model_copy(update={"attempt": 2, "outputs": {"best": "d" * 64}})
        for step in (first, second, failed, failed):
            metadata.runs.record_step("run-1", step)
        assert metadata.runs.get_run("run-1").steps == (failed, second)
        assert metadata.runs.update_run("run-1", status=RunStatus.RUNNING).steps == (failed, second)

    def test_listing_is_newest_first_and_filtered(self, metadata: Metadata) -> None:
        for hour, pipeline in ((1, "a"), (3, "b"), (2, "a")):
            metadata.runs.create_run(example_run(f"run-{hour}", pipeline, EPOCH + hour * HOUR))
        metadata.runs.record_step("run-2", StepRun(step="s", status=StepStatus.CACHED, key="k", started_at=EPOCH))
        metadata.runs.update_run("run-1", status=RunStatus.RUNNING)
        assert [run.id for run in metadata.runs.list_runs()] == ["run-3", "run-2", "run-1"]
        assert [run.id for run in metadata.runs.list_runs("a")] == ["run-2", "run-1"]
        assert [run.id for run in metadata.runs.list_runs(status=RunStatus.RUNNING)] == ["run-1"]
        assert metadata.runs.list_runs(limit=2) == [metadata.runs.get_run("run-3"), metadata.runs.get_run("run-2")]
        assert metadata.runs.list_runs(limit=0) == []
        with pytest.raises(DataError, match="-1"):
            metadata.runs.list_runs(limit=-1)

    def test_runs_are_counted_by_pipeline_and_state(self, metadata: Metadata) -> None:
        assert metadata.runs.count_runs() == []
        for hour, pipeline in ((1, "b"), (3, "a"), (2, "a"), (4, "a")):
            metadata.runs.create_run(example_run(f"run-{hour}", pipeline, EPOCH + hour * HOUR))
        metadata.runs.update_run("run-3", status=RunStatus.RUNNING)
        found = [(of.pipeline, of.status, of.runs, of.oldest_at, of.newest_at) for of in metadata.runs.count_runs()]
        assert found == [
            ("a", RunStatus.PENDING, 2, EPOCH + 2 * HOUR, EPOCH + 4 * HOUR),
            ("a", RunStatus.RUNNING, 1, EPOCH + 3 * HOUR, EPOCH + 3 * HOUR),
            ("b", RunStatus.PENDING, 1, EPOCH + HOUR, EPOCH + HOUR),
        ]


class ArtifactStoreContract:
    """What every ``ArtifactStore`` does."""

    def _two_runs(self, metadata: Metadata) -> None:
        for hour, run_id in enumerate(("train", "score")):
            metadata.runs.create_run(example_run(run_id, created_at=EPOCH + hour * HOUR))
        for digest in ("table", "set", "model", "scores", "alien"):
            metadata.artifacts.record_artifact(digest, "blob", f"file:///{digest}")
        for run_id, step, source, target in (
            ("train", "extract", "table", "set"),
            ("train", "fit", "set", "model"),
            ("score", "score", "model", "scores"),
        ):
            metadata.artifacts.record_event(run_id, step, source, "input")
            metadata.artifacts.record_event(run_id, step, target, "output")

    def test_the_first_record_of_a_digest_stays(self, metadata: Metadata, clock: MovableClock) -> None:
        first = metadata.artifacts.record_artifact("d", "table", "file:///d", {"rows": 3})
        clock.advance_to(EPOCH + HOUR)
        assert (
            metadata.artifacts.record_artifact("d", "json", "elsewhere")
            == first
            == metadata.artifacts.get_artifact("d")
        )

    def test_events_are_recorded_once(self, metadata: Metadata, clock: MovableClock) -> None:
        self._two_runs(metadata)
        clock.advance_to(EPOCH + HOUR)
        assert metadata.artifacts.record_event("train", "fit", "model", "output").at == EPOCH
        assert len(metadata.artifacts.lineage_of("model").events) == 4

    def test_lineage_reaches_back_through_steps_and_runs(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        lineage = metadata.artifacts.lineage_of("scores")
        assert [artifact.digest for artifact in lineage.artifacts] == ["table", "set", "model", "scores"]
        assert lineage.run_ids == ("train", "score")
        assert len(lineage.events) == 6
        assert metadata.artifacts.lineage_of("alien").events == ()

    def test_what_used_an_artifact_is_found_downstream(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        assert metadata.artifacts.runs_using("table") == ["score", "train"]
        assert metadata.artifacts.runs_using("model") == ["score"]
        assert metadata.artifacts.runs_using("scores") == []

    def test_what_runs_read_and_wrote_is_found(self, metadata: Metadata) -> None:
        self._two_runs(metadata)

        def found(*run_ids: str) -> list[str]:
            return [artifact.digest for artifact in metadata.artifacts.run_artifacts(run_ids)]

        assert found("train") == ["table", "set", "model"]
        assert found("score", "train") == ["table", "set", "model", "scores"]
        assert found("ghost") == [] == found()
        assert found("score", *(f"ghost-{number}" for number in range(1200))) == ["model", "scores"]

    def test_what_a_step_read_and_wrote_is_found(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        events = metadata.artifacts.run_events("train", "fit")
        assert [(event.digest, event.direction) for event in events] == [("set", "input"), ("model", "output")]
        assert len(metadata.artifacts.run_events("train")) == 4
        with pytest.raises(RunNotFound, match="ghost"):
            metadata.artifacts.run_events("ghost")

    def test_a_cycle_of_equal_contents_ends(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        metadata.artifacts.record_event("score", "echo", "scores", "input")
        metadata.artifacts.record_event("score", "echo", "table", "output")
        assert len(metadata.artifacts.lineage_of("table").artifacts) == 4

    def test_wrong_events_are_refused(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        with pytest.raises(RunNotFound, match="ghost"):
            metadata.artifacts.record_event("ghost", "fit", "model", "input")
        with pytest.raises(NotFoundError, match="ghost"):
            metadata.artifacts.record_event("train", "fit", "ghost", "input")
        with pytest.raises(DataError, match="sideways"):
            metadata.artifacts.record_event("train", "fit", "model", "sideways")  # type: ignore[arg-type]  # that is the test
        for call in (metadata.artifacts.get_artifact, metadata.artifacts.lineage_of, metadata.artifacts.runs_using):
            with pytest.raises(NotFoundError, match="ghost"):
                call("ghost")


class ContextStoreContract:
    """What every ``ContextStore`` does."""

    def test_runs_and_artifacts_are_found_by_their_contexts(self, metadata: Metadata, clock: MovableClock) -> None:
        for hour, run_id in enumerate(("a", "b", "c")):
            metadata.runs.create_run(example_run(run_id, created_at=EPOCH + hour * HOUR))
            metadata.artifacts.record_artifact(f"of-{run_id}", "model", f"file:///{run_id}")
        first = metadata.contexts.put_context("experiment", "depth", {"asked": ["deeper?"]})
        clock.advance_to(EPOCH + HOUR)
        assert metadata.contexts.put_context("experiment", "depth", {"asked": 2}) == first
        prod = metadata.contexts.put_context("environment", "prod")
        for _ in range(2):
            metadata.contexts.add_to_context("experiment", "depth", run_ids=("a", "b"), digests=("of-b", "of-a"))
        metadata.contexts.add_to_context("environment", "prod", run_ids=("b",))
        assert metadata.contexts.list_contexts() == [first, prod]
        assert metadata.contexts.list_contexts("environment") == [prod]
        assert metadata.contexts.list_contexts(run_id="b") == [first, prod]
        assert metadata.contexts.list_contexts("experiment", digest="of-a") == [first]
        assert metadata.contexts.list_contexts(run_id="c") == []
        assert metadata.contexts.context_runs("experiment", "depth") == ["b", "a"]
        assert [artifact.digest for artifact in metadata.contexts.context_artifacts("experiment", "depth")] == [
            "of-a",
            "of-b",
        ]
        assert (
            metadata.contexts.context_runs("experiment", "ghost")
            == []
            == metadata.contexts.context_artifacts("x", "depth")
        )

    def test_what_is_not_there_joins_no_context(self, metadata: Metadata) -> None:
        metadata.runs.create_run(example_run())
        with pytest.raises(NotFoundError, match="experiment 'ghost'"):
            metadata.contexts.add_to_context("experiment", "ghost", run_ids=("run-1",))
        metadata.contexts.put_context("experiment", "depth")
        with pytest.raises(RunNotFound, match="'nobody'"):
            metadata.contexts.add_to_context("experiment", "depth", run_ids=("run-1", "nobody"))
        with pytest.raises(NotFoundError, match="artifact 'none'"):
            metadata.contexts.add_to_context("experiment", "depth", run_ids=("run-1",), digests=("none",))
        assert metadata.contexts.context_runs("experiment", "depth") == []
        with pytest.raises(DataError, match="Context must hold JSON"):
            metadata.contexts.put_context("experiment", "odd", {"x": object()})
