"""Contract suites of runs, artifacts and lineage; see ``raymlops.testing.metadata``."""

from __future__ import annotations

import pytest

from raymlops.errors import AlreadyRegistered, DataError, InvalidTransition, NotFoundError, RunNotFound
from raymlops.metadata.protocols import ArtifactStore, Metadata, RunStore
from raymlops.records.runs import RunStatus, StepRun, StepStatus
from raymlops.testing.metadata_examples import EPOCH, HOUR, MovableClock, example_run

__all__ = ["ArtifactStoreContract", "ContextStoreContract", "RunStoreContract"]


class RunStoreContract:
    """What every ``RunStore`` does."""

    def test_a_run_is_read_back_as_created(self, metadata: RunStore) -> None:
        created = metadata.create_run(example_run())
        assert created == example_run() == metadata.get_run("run-1")

    def test_create_is_idempotent_by_id_and_never_resets(self, metadata: RunStore) -> None:
        metadata.create_run(example_run())
        running = metadata.update_run("run-1", status=RunStatus.RUNNING)
        assert metadata.create_run(example_run()) == running

    def test_an_id_belongs_to_one_pipeline(self, metadata: RunStore) -> None:
        metadata.create_run(example_run())
        with pytest.raises(AlreadyRegistered, match="run-1"):
            metadata.create_run(example_run(pipeline="other"))

    def test_a_final_run_never_reopens(self, metadata: RunStore, clock: MovableClock) -> None:
        metadata.create_run(example_run())
        clock.advance_to(EPOCH + HOUR)
        done = metadata.update_run("run-1", status=RunStatus.SUCCEEDED, result={"version": 3})
        assert done.ended_at == EPOCH + HOUR
        clock.advance_to(EPOCH + 2 * HOUR)
        assert metadata.update_run("run-1", status="succeeded", result={"version": 3}) == done
        changes: tuple[dict[str, object], ...] = ({"status": RunStatus.RUNNING}, {"result": {}}, {"error": "x"})
        for change in changes:
            with pytest.raises(InvalidTransition, match="run-1"):
                metadata.update_run("run-1", **change)
        assert metadata.update_run("run-1", job_id="job-7").job_id == "job-7"
        with pytest.raises(InvalidTransition):
            metadata.update_run("run-1", job_id="job-8")
        assert metadata.get_run("run-1") == done.model_copy(update={"job_id": "job-7"})

    def test_a_running_run_does_not_become_pending(self, metadata: RunStore) -> None:
        metadata.create_run(example_run())
        metadata.update_run("run-1", status=RunStatus.RUNNING)
        with pytest.raises(InvalidTransition):
            metadata.update_run("run-1", status=RunStatus.PENDING)

    def test_wrong_changes_are_refused_and_change_nothing(self, metadata: RunStore) -> None:
        metadata.create_run(example_run())
        changes = ({"id": "x"}, {"steps": ()}, {"nope": 1}, {"status": "odd"}, {"result": {"x": object()}})
        for change in changes:
            with pytest.raises(DataError, match=r"run-1|JSON"):
                metadata.update_run("run-1", **change)
        assert metadata.get_run("run-1") == example_run()

    def test_unknown_runs_are_named(self, metadata: RunStore) -> None:
        step = StepRun(step="tune", status=StepStatus.RUNNING, key="k", started_at=EPOCH)
        for call in (
            lambda: metadata.get_run("ghost"),
            lambda: metadata.update_run("ghost", status=RunStatus.RUNNING),
            lambda: metadata.record_step("ghost", step),
        ):
            with pytest.raises(RunNotFound, match="ghost"):
                call()

    def test_steps_are_upserted_by_name_and_attempt(self, metadata: RunStore) -> None:
        metadata.create_run(example_run())
        first = StepRun(step="tune", status=StepStatus.RUNNING, key="k", started_at=EPOCH)
        failed = first.model_copy(update={"status": StepStatus.FAILED, "error": "boom"})
        second = first.model_copy(update={"attempt": 2, "outputs": {"best": "d" * 64}})
        for step in (first, second, failed, failed):
            metadata.record_step("run-1", step)
        assert metadata.get_run("run-1").steps == (failed, second)
        assert metadata.update_run("run-1", status=RunStatus.RUNNING).steps == (failed, second)

    def test_listing_is_newest_first_and_filtered(self, metadata: RunStore) -> None:
        for hour, pipeline in ((1, "a"), (3, "b"), (2, "a")):
            metadata.create_run(example_run(f"run-{hour}", pipeline, EPOCH + hour * HOUR))
        metadata.record_step("run-2", StepRun(step="s", status=StepStatus.CACHED, key="k", started_at=EPOCH))
        metadata.update_run("run-1", status=RunStatus.RUNNING)
        assert [run.id for run in metadata.list_runs()] == ["run-3", "run-2", "run-1"]
        assert [run.id for run in metadata.list_runs("a")] == ["run-2", "run-1"]
        assert [run.id for run in metadata.list_runs(status=RunStatus.RUNNING)] == ["run-1"]
        assert metadata.list_runs(limit=2) == [metadata.get_run("run-3"), metadata.get_run("run-2")]
        assert metadata.list_runs(limit=0) == []
        with pytest.raises(DataError, match="-1"):
            metadata.list_runs(limit=-1)


class ArtifactStoreContract:
    """What every ``ArtifactStore`` does."""

    def _two_runs(self, metadata: Metadata) -> None:
        for hour, run_id in enumerate(("train", "score")):
            metadata.create_run(example_run(run_id, created_at=EPOCH + hour * HOUR))
        for digest in ("table", "set", "model", "scores", "alien"):
            metadata.record_artifact(digest, "blob", f"file:///{digest}")
        for run_id, step, source, target in (
            ("train", "extract", "table", "set"),
            ("train", "fit", "set", "model"),
            ("score", "score", "model", "scores"),
        ):
            metadata.record_event(run_id, step, source, "input")
            metadata.record_event(run_id, step, target, "output")

    def test_the_first_record_of_a_digest_stays(self, metadata: ArtifactStore, clock: MovableClock) -> None:
        first = metadata.record_artifact("d", "table", "file:///d", {"rows": 3})
        clock.advance_to(EPOCH + HOUR)
        assert metadata.record_artifact("d", "json", "elsewhere") == first == metadata.get_artifact("d")

    def test_events_are_recorded_once(self, metadata: Metadata, clock: MovableClock) -> None:
        self._two_runs(metadata)
        clock.advance_to(EPOCH + HOUR)
        assert metadata.record_event("train", "fit", "model", "output").at == EPOCH
        assert len(metadata.lineage_of("model").events) == 4

    def test_lineage_reaches_back_through_steps_and_runs(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        lineage = metadata.lineage_of("scores")
        assert [artifact.digest for artifact in lineage.artifacts] == ["table", "set", "model", "scores"]
        assert lineage.run_ids == ("train", "score")
        assert len(lineage.events) == 6
        assert metadata.lineage_of("alien").events == ()

    def test_what_used_an_artifact_is_found_downstream(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        assert metadata.runs_using("table") == ["score", "train"]
        assert metadata.runs_using("model") == ["score"]
        assert metadata.runs_using("scores") == []

    def test_what_runs_read_and_wrote_is_found(self, metadata: Metadata) -> None:
        self._two_runs(metadata)

        def found(*run_ids: str) -> list[str]:
            return [artifact.digest for artifact in metadata.run_artifacts(run_ids)]

        assert found("train") == ["table", "set", "model"]
        assert found("score", "train") == ["table", "set", "model", "scores"]
        assert found("ghost") == [] == found()
        assert found("score", *(f"ghost-{number}" for number in range(1200))) == ["model", "scores"]

    def test_what_a_step_read_and_wrote_is_found(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        events = metadata.run_events("train", "fit")
        assert [(event.digest, event.direction) for event in events] == [("set", "input"), ("model", "output")]
        assert len(metadata.run_events("train")) == 4
        with pytest.raises(RunNotFound, match="ghost"):
            metadata.run_events("ghost")

    def test_a_cycle_of_equal_contents_ends(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        metadata.record_event("score", "echo", "scores", "input")
        metadata.record_event("score", "echo", "table", "output")
        assert len(metadata.lineage_of("table").artifacts) == 4

    def test_wrong_events_are_refused(self, metadata: Metadata) -> None:
        self._two_runs(metadata)
        with pytest.raises(RunNotFound, match="ghost"):
            metadata.record_event("ghost", "fit", "model", "input")
        with pytest.raises(NotFoundError, match="ghost"):
            metadata.record_event("train", "fit", "ghost", "input")
        with pytest.raises(DataError, match="sideways"):
            metadata.record_event("train", "fit", "model", "sideways")  # type: ignore[arg-type]  # that is the test
        for call in (metadata.get_artifact, metadata.lineage_of, metadata.runs_using):
            with pytest.raises(NotFoundError, match="ghost"):
                call("ghost")


class ContextStoreContract:
    """What every ``ContextStore`` does."""

    def test_runs_and_artifacts_are_found_by_their_contexts(self, metadata: Metadata, clock: MovableClock) -> None:
        for hour, run_id in enumerate(("a", "b", "c")):
            metadata.create_run(example_run(run_id, created_at=EPOCH + hour * HOUR))
            metadata.record_artifact(f"of-{run_id}", "model", f"file:///{run_id}")
        first = metadata.put_context("experiment", "depth", {"asked": ["deeper?"]})
        clock.advance_to(EPOCH + HOUR)
        assert metadata.put_context("experiment", "depth", {"asked": 2}) == first
        prod = metadata.put_context("environment", "prod")
        for _ in range(2):
            metadata.add_to_context("experiment", "depth", run_ids=("a", "b"), digests=("of-b", "of-a"))
        metadata.add_to_context("environment", "prod", run_ids=("b",))
        assert metadata.list_contexts() == [first, prod]
        assert metadata.list_contexts("environment") == [prod]
        assert metadata.list_contexts(run_id="b") == [first, prod]
        assert metadata.list_contexts("experiment", digest="of-a") == [first]
        assert metadata.list_contexts(run_id="c") == []
        assert metadata.context_runs("experiment", "depth") == ["b", "a"]
        assert [artifact.digest for artifact in metadata.context_artifacts("experiment", "depth")] == ["of-a", "of-b"]
        assert metadata.context_runs("experiment", "ghost") == [] == metadata.context_artifacts("x", "depth")

    def test_what_is_not_there_joins_no_context(self, metadata: Metadata) -> None:
        metadata.create_run(example_run())
        with pytest.raises(NotFoundError, match="experiment 'ghost'"):
            metadata.add_to_context("experiment", "ghost", run_ids=("run-1",))
        metadata.put_context("experiment", "depth")
        with pytest.raises(RunNotFound, match="'nobody'"):
            metadata.add_to_context("experiment", "depth", run_ids=("run-1", "nobody"))
        with pytest.raises(NotFoundError, match="artifact 'none'"):
            metadata.add_to_context("experiment", "depth", run_ids=("run-1",), digests=("none",))
        assert metadata.context_runs("experiment", "depth") == []
        with pytest.raises(DataError, match="Context must hold JSON"):
            metadata.put_context("experiment", "odd", {"x": object()})
