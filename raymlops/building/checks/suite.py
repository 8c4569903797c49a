"""All checks, in their order: those of the features first, which need no data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from raymlops.building.checks.feature_checks import batch_equals_row_by_row, edge_values
from raymlops.building.checks.finding import Finding, does_not_apply, failed, passed
from raymlops.building.checks.model_checks import Models, loss_falls, overfits_a_handful, same_model_twice
from raymlops.building.checks.sample import SAMPLE_FILE, Sample, imported, open_sample, sample_rows
from raymlops.building.checks.sample_checks import online_equals_offline, rows_alone_equal_rows_together
from raymlops.building.checks.step_checks import (
    Tried,
    answers_as_the_estimator,
    spec_search,
    steps_fit_together,
    try_pipeline,
    yields,
)
from raymlops.delivery.project import read_project
from raymlops.features import Definition
from raymlops.records.bundles import CheckResult, ProjectSpec
from raymlops.steps import training_parameters

__all__ = ["CHECKS", "run_checks"]

CHECKS = (
    "features_on_edge_values",
    "features_batch_equals_rows",
    "sample_fits_the_definitions",
    "steps_yield_what_they_declare",
    "steps_fit_together",
    "packaged_model_answers_as_estimator",
    "training_rows_alone_equal_together",
    "online_equals_offline",
    "model_overfits_a_handful",
    "loss_falls_with_training",
    "training_twice_gives_one_model",
)
"""Names of all checks, in the order in which they run."""


def run_checks(directory: Path, scratch: Path, started: Callable[[str], None]) -> Iterator[CheckResult]:
    """Run every check on a project, whose modules must be importable.

    Args:
        directory: The project's.
        scratch: Directory for what need not last.
        started: Is told each check before it runs.
    """
    spec = read_project(directory)
    definitions: Sequence[Definition] = list(imported(spec.definitions))
    with ExitStack() as opened:
        state = _State(directory, scratch, spec, definitions, opened)
        checks = dict(zip(CHECKS, state.checks(), strict=True))
        for name, check in checks.items():
            started(name)
            began = time.perf_counter()
            try:
                finding = check()
            except Exception as error:  # whatever the project's own code raises
                told = " ".join(f"{type(error).__name__}: {error}".split())
                finding = failed(told, "mend what raised")
            evidence, remedy = (" ".join(text.split()) for text in (finding.evidence, finding.remedy))
            seconds = time.perf_counter() - began
            yield CheckResult(name=name, outcome=finding.outcome, seconds=seconds, evidence=evidence, remedy=remedy)


class _State:
    """What the checks hand on: the sample, and what the pipeline made of it."""

    def __init__(
        self, directory: Path, scratch: Path, spec: ProjectSpec, definitions: Sequence[Definition], opened: ExitStack
    ) -> None:
        self._directory = directory
        self._scratch = scratch
        self._spec = spec
        self._definitions = definitions
        self._opened = opened
        self._sample: Sample | None = None
        self._tried: Tried | None = None
        self._why = f"no sample: the project has neither {SAMPLE_FILE} with a section data, nor replay.source"

    def checks(self) -> tuple[Callable[[], Finding], ...]:
        """One function for each name of ``CHECKS``."""
        return (
            partial(edge_values, self._definitions),
            partial(batch_equals_row_by_row, self._definitions),
            self._take_sample,
            partial(self._on_tried, yields),
            partial(self._on_tried, steps_fit_together),
            partial(self._on_tried, answers_as_the_estimator),
            partial(self._on_frame, rows_alone_equal_rows_together),
            partial(self._on_frame, online_equals_offline),
            partial(self._on_models, overfits_a_handful),
            partial(self._on_models, loss_falls),
            partial(self._on_models, same_model_twice),
        )

    def _take_sample(self) -> Finding:
        self._why = "the sample could not be taken, see sample_fits_the_definitions"
        rows = sample_rows(self._directory, self._spec, self._definitions)
        if rows is None:
            self._why = f"no sample: the project has neither {SAMPLE_FILE} with a section data, nor replay.source"
            return does_not_apply(self._why)
        root = self._scratch / "features"
        self._sample = self._opened.enter_context(open_sample(rows, self._spec, self._definitions, root))
        asked = sum(table.num_rows for table in rows.views.values())
        if self._sample.rows < asked:
            told = f"{asked - self._sample.rows} of {asked} rows of {rows.source} are refused by the definitions"
            return failed(told, "widen the fields (nullable, ge, le, allowed) to what the data holds")
        return passed(f"{asked} rows of {rows.source} in {len(rows.views)} views")

    def _run(self) -> Tried | None:
        if self._tried is None and self._sample is not None:
            self._tried = try_pipeline(self._sample, self._scratch / "home")
        return self._tried

    def _on_tried(self, check: Callable[[Tried], Finding]) -> Finding:
        tried = self._run()
        return does_not_apply(self._why) if tried is None else check(tried)

    def _on_frame(self, check: Callable[[Sample, object], Finding]) -> Finding:
        tried = self._run()
        if tried is None or self._sample is None:
            return does_not_apply(self._why)
        if tried.frame is None:
            return does_not_apply("the sample gave no training row, see steps_yield_what_they_declare")
        return check(self._sample, tried.frame)

    def _on_models(self, check: Callable[[Models], Finding]) -> Finding:
        tried = self._run()
        if tried is None:
            return does_not_apply(self._why)
        if tried.frame is None or tried.task is None:
            return does_not_apply("the sample gave no training row, see steps_yield_what_they_declare")
        seed = training_parameters(self._spec, {}).seed
        return check(Models(tried.frame, tried.task, spec_search(self._spec), seed))
