"""A platform as the pictures of the documentation show it: some weeks of three models, one with a version on trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from raymlops.clock import ManualClock
from raymlops.console import Console
from raymlops.console.sources import Sources
from raymlops.control.loop.explaining.status import ControlStatus
from raymlops.control.loop.explaining.why import Why
from raymlops.laboratory import Schedule, compare_policies
from raymlops.laboratory.report.kept import keep_report, report_path
from raymlops.metadata import MetadataService
from raymlops.monitoring.report.monitor_report import Distribution, MonitorReport
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpRequest
from tests.support import console_world
from tests.support.console_world import NOW, Parts, make_sources
from tests.unit.laboratory.examples import FIRST, ageing

__all__ = ["picture_sources", "served"]

DAY = timedelta(days=1)
COLUMN = "country"
MODELS = ("churn", "delay", "price")
_WHY = (
    "first deployment",
    "loss is better by 0.021, at least 0.004, over 312 rows",
    "as good as the champion over 508 rows, and trained on newer data",
)


class _Shown(Parts):
    """The parts as they answer on a calm day."""

    def status(self) -> list[ControlStatus]:
        wait = Reason(kind="cooldown", text="the last retraining started 4 h ago, and 1 day must pass", remedy="wait")
        found = super().status()
        regret = found[0].verdict.regret
        assert regret is not None
        told = regret.model_copy(update={"reason": "what is expected does not exceed the bar"})
        verdict = found[0].verdict.model_copy(update={"regret": told, "reason": "no trigger fired"})
        changes = {"problem": None, "verdict": verdict}
        return [one.model_copy(update={**changes, "reasons": () if one.trial else (wait,)}) for one in found]

    def why(self, model: str, at: datetime | None = None) -> Why:
        found = super().why(model, at)
        standings = tuple(
            each.model_copy(update={"reason": "240 labelled rows are compared, the bounds still hold both"})
            for each in found.standings
        )
        return found.model_copy(update={"standings": standings})

    def statuses(self) -> list[EndpointStatus]:
        known = super().statuses()
        return [one.model_copy(update={"answering": 1, "answers": True, "reason": None}) for one in known]

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        told = {"degraded_reason": "log loss 0.48, at most 0.44 was to be expected"}
        known = self.metadata.windows.list_windows(model, start, end)
        windows = tuple(window.model_copy(update=told) if window.degraded else window for window in known)
        shares = Distribution(COLUMN, windows[-1].start, ("NO", "SE", "DK"), (0.5, 0.3, 0.2), (0.35, 0.42, 0.23))
        return MonitorReport(model, NOW, windows, (shares,), reasons=())


@contextmanager
def picture_sources(home: Path) -> Iterator[Sources]:
    """What the console reads for the pictures."""
    clock = ManualClock(NOW - 60 * DAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_world, "EVIL", COLUMN)
        with closing(MetadataService(home / "metadata.db", clock=clock)) as metadata:
            for place, name in enumerate(MODELS):
                console_world._register(metadata, name, 4)
                console_world._windows(metadata, name, place)
                console_world._deliver(metadata, name, place)
            for number, reason in enumerate(_WHY, 1):
                for name in MODELS:
                    _serve(metadata, clock, name, number, reason)
            for place, name in enumerate(MODELS):
                _train(metadata, clock, name, 4, 2.5, failed=place == 1)
            clock.advance_to(NOW - DAY)
            _try(metadata, MODELS[0])
        own = Schedule((FIRST + 4, FIRST + 11), name="the configured triggers")
        report = compare_policies(ageing(count=30, slope=0.01), price=0.05, own=[own])
        keep_report(report, report_path(home, MODELS[0]), NOW - DAY)
        patch.setattr(console_world, "EVIL", "")
        sources, close = make_sources(home, empty=True)
        assert isinstance(sources.metadata, MetadataService)
        parts = _Shown(sources.metadata, home=home)
        yield replace(sources, control=parts, endpoints=parts, monitor=parts, setting_sources=dict)
        close()


def _serve(metadata: MetadataService, clock: ManualClock, name: str, number: int, reason: str) -> None:
    """A version becomes champion, by a run where it is not the first."""
    at = NOW - (43 - 10 * number) * DAY
    if number > 1:
        _train(metadata, clock, name, number, 44 - 10 * number)
    clock.advance_to(max(at, clock.now()))
    metadata.ledger.append_entry(
        name, "promote", reason, {"by": "controller", "number": number}, key=f"p{name}{number}"
    )
    metadata.plans.put_plan(
        ServingPlan(model=name, number=number, champion=number, backup=number - 1 or None, reason=reason, created_at=at)
    )


def _try(metadata: MetadataService, name: str) -> None:
    changes = {"number": 4, "trial": Trial(version=4, weight=0.1, ramp=(0.5,)), "created_at": NOW - DAY}
    reason = f"run {name}-4 produced a candidate"
    metadata.plans.put_plan(metadata.plans.get_plan(name).model_copy(update={**changes, "reason": reason}))
    metadata.ledger.append_entry(name, "start_trial", reason, {"by": "controller"}, key=f"t{name}")


def _train(
    metadata: MetadataService, clock: ManualClock, name: str, number: int, days_ago: float, *, failed: bool = False
) -> None:
    """A drift starts a run."""
    began, reason = NOW - days_ago * DAY, "the data has drifted in 3 of the last 4 windows"
    clock.advance_to(max(began, clock.now()))
    metadata.ledger.append_entry(name, "retrain", reason, {"by": "controller"}, key=f"r{name}{number}")
    run = Run(id=f"{name}-{number}", pipeline=f"{name}-train", reason=reason, created_at=began)
    metadata.runs.create_run(run)
    result = {"outcome": "candidate", "version": number}
    ended = began + timedelta(hours=9)
    if failed:
        told = "step extract: the table visits has no row of the last 7 days"
        metadata.runs.update_run(run.id, status=RunStatus.FAILED, error=told, ended_at=ended)
    else:
        metadata.runs.update_run(run.id, status=RunStatus.SUCCEEDED, result=result, ended_at=ended)


@contextmanager
def served(sources: Sources) -> Iterator[str]:
    """A console over HTTP, on a port of its own; its address."""
    console = Console(sources)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = console.answer(HttpRequest("GET", path, headers, query=query), OPEN)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/console"
        finally:
            server.shutdown()
            thread.join()
            console.close()
