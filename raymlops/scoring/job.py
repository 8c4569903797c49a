"""One job from its first row to its commit. Killed at any instant and begun again, it goes on where it was."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from raymlops.clock import Clock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ConflictError, DataError, RaymlopsError
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.learning.artifacts import ArtifactStore
from raymlops.records.ledger import Ledger
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus, RunStore
from raymlops.records.scoring import PIPELINE, Part, PartReceipt, ScoringPlan, ScoringReceipt
from raymlops.scoring.output import OutputTable
from raymlops.scoring.scorer import PartScorer, files_of
from raymlops.scoring.state import JobDirectory, JobRecord, JobState
from raymlops.scoring.validation import InputVerdict, judge_inputs

__all__ = ["PIPELINE", "Execute", "Journal", "ScoringJob"]

_STEP = "score"
_SAMPLED_PARTS = 8
_SAMPLED_ROWS = 4096
"""Of each sampled part, so many rows are looked at before anything is written."""

Execute = Callable[[Sequence[Part]], Generator[PartReceipt, None, None]]
"""Scores parts, wherever and in whatever order, and tells of each as soon as it is done; holds nothing once closed."""


class Journal(Protocol):
    """The stores that jobs are recorded in."""

    runs: RunStore
    artifacts: ArtifactStore
    ledger: Ledger


@dataclass(frozen=True)
class ScoringJob:
    """A job that can be begun, and begun again.

    Attributes:
        plan: What is scored; ``JobDirectory.adopted`` tells from which state of the features.
        parts: The source, cut by the plan.
        scorer: In this process; looks at a sample before anything is written.
        output: The table.
        directory: What is done is noted there.
        reference: Of the version, or ``None``.
        journal: Where the job is recorded.
        config: What counts as broken, and as drift.
        clock: Dates the records.
        model_uri: Where the version's files are.
    """

    plan: ScoringPlan
    parts: Sequence[Part]
    scorer: PartScorer
    output: OutputTable
    directory: JobDirectory
    reference: Reference | None
    journal: Journal
    config: MonitoringConfig
    clock: Clock
    model_uri: str

    def check(self) -> InputVerdict:
        """Judge the rows: columns and types, and of a sample the model's answers, values, drift. Writes nothing.

        Raises:
            AlreadyRegistered, SchemaMismatch: The rows could not be written to the output.
            DataError: The rows do not fit the model.
        """
        if self.output.committed(self._commit_id) is None:
            self.output.require_room(self.scorer.schema, self.plan.mode)
        self.scorer.check_carried(self.parts)
        every = max(1, -(-len(self.parts) // _SAMPLED_PARTS))
        profiles = (self.scorer.profile(part, _SAMPLED_ROWS) for part in self.parts[::every])
        return judge_inputs(self.reference, _sum(profiles), self.config)

    def run(self, execute: Execute) -> ScoringReceipt:
        """Score what is not scored yet, and commit.

        Nothing of the output is visible before the last step, which makes all of it visible at once.

        Args:
            execute: Scores parts.

        Raises:
            ConflictError: Another process is at work on this job.
            DataError: The rows are broken: nothing was committed.
            StorageError, UnavailableError: The next time may end better; what is done is kept for it.
            RaymlopsError: A part could not be scored; nothing is left of the job but its run.
        """
        with self.directory.locked():
            done = self.directory.find_receipt()
            if done is not None and done.plan == self.plan and self.output.committed(self._commit_id) is not None:
                return done.model_copy(update={"duplicate": True, "resumed_parts": done.parts})
            if done is not None:
                self.directory.clear()
            sampled = self.check()
            record, run = self._begin(anew=done is not None)
            try:
                sampled.require_sound(self.plan.source.name)
                receipt = self._score(record, execute)
            except Exception as error:
                self._fail(record.run_id, error)
                raise
            self._finish(receipt, run)
            return receipt

    @property
    def _commit_id(self) -> str:
        return sha256_of(self.plan)[:32]

    def _begin(self, *, anew: bool) -> tuple[JobRecord, Run]:
        """Record the job and its run; a run that failed is final, so the next attempt has another.

        A run that succeeded though no receipt was noted is this job's own, which ended a moment before it could.
        """
        known = self.directory.find_record()
        if known is not None and known.plan != self.plan:
            raise ConflictError(f"the job in {self.directory.path} has another plan: adopt it first")
        record = known or JobRecord(run_id=f"{PIPELINE}-{self._commit_id[:12]}", plan=self.plan)
        while (run := self._create_run(record)).status.final and (anew or run.status is not RunStatus.SUCCEEDED):
            attempt = record.attempt + 1
            run_id = f"{PIPELINE}-{self._commit_id[:12]}-{attempt}"
            record = record.model_copy(update={"attempt": attempt, "run_id": run_id})
        self.directory.put_record(record)
        if not run.status.final:
            run = self.journal.runs.update_run(record.run_id, status=RunStatus.RUNNING)
        return record, run

    def _create_run(self, record: JobRecord) -> Run:
        plan = self.plan.model_dump(mode="json")
        run = Run(id=record.run_id, pipeline=PIPELINE, parameters=plan, reason="on-demand", created_at=self.clock.now())
        return self.journal.runs.create_run(run)

    def _score(self, record: JobRecord, execute: Execute) -> ScoringReceipt:
        state = self._resumed()
        resumed = len(state.receipts)
        if state.missing:
            # closed also where a note fails: the workers would hold CPUs until the garbage is collected
            with closing(execute(state.missing)) as receipts:
                for receipt in receipts:
                    state = state.with_receipt(receipt)
                    self.directory.put_part(receipt)
        if state.missing:
            numbers = [part.number for part in state.missing]
            raise DataError(f"parts {numbers[:10]} of {len(self.parts)} were not scored")
        verdict = judge_inputs(self.reference, _sum(map(_profile, state.done)), self.config)
        verdict.require_sound(self.plan.source.name)
        facts = {"raymlops.model": f"{self.plan.model}/{self.plan.version}", "raymlops.run": record.run_id}
        version = self.output.commit(self._commit_id, self.scorer.schema, state.files, self.plan.mode, facts)
        return ScoringReceipt(
            run_id=record.run_id,
            plan=self.plan,
            rows=state.rows,
            parts=len(self.parts),
            resumed_parts=resumed,
            output_version=version,
            verdict="ok" if verdict.verdict == "ok" else "warn",
            reasons=verdict.reasons,
            created_at=self.clock.now(),
        )

    def _fail(self, run_id: str, error: Exception) -> None:
        """Record a failure; where the next time would end no better, nothing of the job is kept for it."""
        self.journal.runs.update_run(run_id, status=RunStatus.FAILED, error=f"{type(error).__name__}: {error}")
        again = isinstance(error, RaymlopsError) and error.retryable
        if not again and self.output.committed(self._commit_id) is None:
            self.output.remove(files_of(self.plan))
            self.directory.clear()

    def _resumed(self) -> JobState:
        """What is done, and still there: whoever removed files meanwhile has their parts done again."""
        noted = self.directory.state(self.parts)
        there = {
            number: receipt for number, receipt in noted.receipts.items() if not self.output.missing(receipt.files)
        }
        return JobState(self.parts, there)

    def _finish(self, receipt: ScoringReceipt, run: Run) -> None:
        """Record what was read and written; each step may be done again."""
        plan, run_id = self.plan, receipt.run_id
        read = {"name": plan.source.name, "version": plan.source.version}
        written = {"rows": receipt.rows, "version": receipt.output_version, "model": f"{plan.model}/{plan.version}"}
        output = sha256_of({"output": plan.output, "version": receipt.output_version, "job": self._commit_id})
        self.journal.artifacts.record_artifact(plan.digest, "model", self.model_uri)
        self.journal.artifacts.record_artifact(plan.source.digest, "table", plan.source.uri, read)
        self.journal.artifacts.record_artifact(output, "predictions", plan.output, written)
        for digest in (plan.digest, plan.source.digest):
            self.journal.artifacts.record_event(run_id, _STEP, digest, "input")
        self.journal.artifacts.record_event(run_id, _STEP, output, "output")
        result = receipt.model_dump(mode="json", exclude={"plan", "duplicate", "run_id"})
        reason = f"version {plan.version} scored {receipt.rows} rows of {plan.source.name}"
        evidence = {"version": plan.version, "run_id": run_id, "output": plan.output, **result}
        self.journal.ledger.append_entry(plan.model, "score", reason, evidence, key=f"score/{run_id}")
        if not run.status.final:
            self.journal.runs.update_run(run_id, status=RunStatus.SUCCEEDED, result=result)
        self.directory.put_receipt(receipt)


def _profile(receipt: PartReceipt) -> Profile | None:
    return None if receipt.profile is None else Profile.loads(b64decode(receipt.profile))


def _sum(profiles: Iterable[Profile | None]) -> Profile | None:
    total: Profile | None = None
    for profile in _present(profiles):
        total = profile if total is None else total + profile
    return total


def _present(profiles: Iterable[Profile | None]) -> Iterator[Profile]:
    return (profile for profile in profiles if profile is not None)
