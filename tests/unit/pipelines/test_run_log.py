from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from raymlops.pipelines import origin_of
from raymlops.records.runs import Run


def _note(log: Any, run_id: str, resume_of: str | None = None) -> None:
    parameters = {} if resume_of is None else {"resume_of": resume_of}
    log.create_run(Run(id=run_id, pipeline="p", parameters=parameters, created_at=datetime(2013, 3, 1, tzinfo=UTC)))


def test_a_chain_of_resumed_runs_leads_to_its_first(log: Any) -> None:
    _note(log, "a")
    _note(log, "b", "a")
    _note(log, "c", "b")
    assert origin_of(log, "c") == origin_of(log, "a") == "a"
    assert origin_of(log, None) is None
    assert origin_of(log, "unknown") == "unknown"


def test_runs_that_resume_each_other_end(log: Any) -> None:
    _note(log, "a", "b")
    _note(log, "b", "a")
    assert origin_of(log, "a") in {"a", "b"}
