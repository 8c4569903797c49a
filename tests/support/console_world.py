"""A platform for the console's tests: real metadata in SQLite, and the other parts as they answer."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from raymlops.clock import ManualClock
from raymlops.config.platform import PlatformConfig
from raymlops.console import Sources
from raymlops.console.sources import ActorView, NodeView
from raymlops.control.loop.explaining.status import ControlStatus, Phase
from raymlops.control.loop.explaining.why import Why
from raymlops.control.rollout.guards import Guard, Standing
from raymlops.control.rollout.judge import Verdict
from raymlops.control.triggering.policies import RetrainOutcome, RetrainVerdict
from raymlops.errors import NotFoundError, UnavailableError
from raymlops.laboratory.probed import RegretStanding
from raymlops.laboratory.report.kept import read_report, report_path
from raymlops.metadata import MetadataService
from raymlops.monitoring.report.monitor_report import Distribution, MonitorReport
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec, Source
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.people.discovery import (
    FeatureDescription,
    FeatureFreshness,
    FeatureLineage,
    FeatureMatch,
    FieldStatistics,
    FrequentValue,
    LineageEdge,
    LineageNode,
    ViewStatistics,
)
from raymlops.records.people.reasons import Reason
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord
from raymlops.runtime.explain.lineage import Lineages

__all__ = ["EVIL", "NOW", "Parts", "fill", "make_sources"]

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
EVIL = """<script>alert("x")</script>'"><img src=x onerror=alert(1)>"""
"""Stands in every text that a page shows and a user, a caller or a model may have written."""
_MODEL_DIGEST, _SET_DIGEST = "1" * 64, "5" * 64


def fill(metadata: MetadataService, models: Sequence[str] = ("churn", "delay", "price")) -> None:
    """Some weeks of life of some models: versions, plans, windows, runs, decisions, a bundle for each."""
    for place, name in enumerate(models):
        _register(metadata, name, 4)
        _windows(metadata, name, place)
        _deliver(metadata, name, place)
        _runs(metadata, name)
        _decide(metadata, name, on_trial=place == 0)


def _register(metadata: MetadataService, name: str, versions: int) -> None:
    inputs = (ColumnSpec(name="age", dtype="FP64"), ColumnSpec(name=EVIL, dtype="BYTES"))
    signature = Signature(task="classifier", inputs=inputs, classes=(0, EVIL))
    manifest = ModelManifest(flavor="xgboost", signature=signature, files={"model.ubj": "0" * 64}, libraries={})
    for number in range(1, versions + 1):
        draft = ModelVersion(
            name=name,
            version=0,
            path=f"/models/{name}",
            manifest=manifest,
            digest=_MODEL_DIGEST,
            metrics={"log_loss": 0.4 + number / 100, "auc": math.nan, EVIL: 0.5},
            training_set=_SET_DIGEST,
            table_versions={"spending": number},
            parameters={"family": EVIL, "depth": 4},
            created_at=NOW - (40 - 9 * number) * DAY,
        )
        metadata.models.register_version(draft, key=f"{name}-{number}")


def _windows(metadata: MetadataService, name: str, place: int) -> None:
    for day in range(42):
        start = NOW - (42 - day) * DAY
        moved = 0.02 + 0.01 * math.sin(day / 3 + place) + (0.06 if day > 36 else 0.0)
        drift = ColumnDrift(score=moved, threshold=0.05, p_value=0.2, drifted=moved > 0.05, importance=0.6)
        performance = Performance(
            rows=400, labelled_rows=350, metrics={"log_loss": 0.41 + moved}, intervals={"log_loss": (0.38, 0.47)}
        )
        record = WindowRecord(
            model=name,
            start=start,
            end=start + DAY,
            champion=1 + day // 12,
            rows=400 + 10 * place,
            quality="block" if day == 20 else "warn" if day == 9 else "ok",
            quality_reasons=(f"column {EVIL} is missing",) if day in (9, 20) else (),
            drifted=drift.drifted,
            columns={"age": drift, EVIL: drift.model_copy(update={"importance": 0.4})},
            performance={1 + day // 12: performance},
            reference_metrics={"log_loss": 0.40},
            degraded=day > 38,
            degraded_reason=EVIL if day > 38 else "",
        )
        metadata.windows.put_window(record, b"")


def _deliver(metadata: MetadataService, name: str, place: int) -> None:
    for build in range(2):
        project = ProjectSpec(
            name=f"{name}-train", model=name, definitions="d:all", service="s", spine="d:spine",
            training={"depth": 3 + build},
        )  # fmt: skip
        digest = f"{place:x}{build:x}" + "b" * 62
        metadata.deployments.put_bundle(
            BundleManifest(
                digest=digest,
                project=project,
                archive_sha256="a" * 64,
                files={"project.yaml": f"{build}" * 64, "steps.py": "c" * 64},
                lock_sha256="d" * 64,
                tests={"passed": 7 + build, "failed": 0, "skipped": 0},
                built_at=NOW - (30 - 10 * build) * DAY,
                built_by=EVIL,
                source=Source(commit="e" * 40, author=EVIL, branch=EVIL, dirty=build == 1),
            )
        )
        environment = "prod" if build == 0 else "dev"
        at = NOW - (29 - 10 * build) * DAY
        metadata.deployments.put_deployment(Deployment(environment=environment, bundle=digest, at=at, reason=EVIL))


def _runs(metadata: MetadataService, name: str) -> None:
    for number in range(4):
        began = NOW - (40 - 10 * number) * DAY
        run = Run(
            id=f"{name}-{number}", pipeline=f"{name}-train", parameters={"depth": number, "note": EVIL},
            reason=EVIL, bundle="0" * 64, created_at=began,
        )  # fmt: skip
        metadata.runs.create_run(run)
        digest = f"{number}".rjust(64, "7")
        metadata.artifacts.record_artifact(digest, "table", f"file:///{name}", {"note": EVIL})
        for place, step in enumerate(("extract", "train", "evaluate")):
            metadata.runs.record_step(run.id, _step(step, place, began, digest, failed=number == 3 and place == 2))
            metadata.artifacts.record_event(run.id, step, digest, "output" if place == 0 else "input")
        metadata.runs.update_run(run.id, status=RunStatus.RUNNING)
        if number < 3:
            result = {"outcome": "candidate", "version": number + 1, "metrics": {"log_loss": 0.4 - number / 100}}
            metadata.runs.update_run(
                run.id, status=RunStatus.SUCCEEDED, result=result, ended_at=began + timedelta(minutes=9)
            )
        else:
            metadata.runs.update_run(run.id, status=RunStatus.FAILED, error=EVIL, ended_at=began + timedelta(minutes=2))


def _step(step: str, place: int, began: datetime, digest: str, *, failed: bool) -> StepRun:
    return StepRun(
        step=step,
        status=StepStatus.FAILED if failed else StepStatus.SUCCEEDED,
        key=f"{place}" * 64,
        started_at=began + timedelta(minutes=place),
        ended_at=began + timedelta(minutes=place + 1),
        outputs={"table": digest} if place == 0 else {},
        error=EVIL if failed else None,
        reason=EVIL,
    )


def _decide(metadata: MetadataService, name: str, *, on_trial: bool) -> None:
    for number, version in enumerate((1, 2, 3), 1):
        at = NOW - (30 - 10 * version) * DAY
        evidence: dict[str, object] = {"by": EVIL, "number": number, "run_id": f"{name}-{version - 1}"}
        metadata.ledger.append_entry(name, "retrain", f"drift of age {EVIL}", evidence, key=f"r/{name}/{version}")
        metadata.ledger.append_entry(name, "promote", EVIL, evidence, key=f"p/{name}/{version}")
        metadata.plans.put_plan(
            ServingPlan(
                model=name,
                number=number,
                champion=version,
                backup=version - 1 or None,
                service=name,
                reason=EVIL,
                created_at=at,
            )
        )
        metadata.models.set_alias(
            name, "champion", version, expected=version - 1 or None, reason=EVIL, evidence={"plan": number}
        )
    if on_trial:
        trial = Trial(version=4, weight=0.1, ramp=(0.5,))
        metadata.plans.put_plan(
            ServingPlan(
                model=name, number=4, champion=3, backup=2, trial=trial, blocked=(1,), service=name, reason=EVIL,
                created_at=NOW - 1 * DAY,
            )
        )  # fmt: skip
        metadata.ledger.append_entry(name, "ask", f"nothing shown {EVIL}", {}, key=f"ask/{name}")


@dataclass
class Parts:
    """The parts beside the metadata, as they answer; ``dead`` names those that do not."""

    metadata: MetadataService
    dead: set[str] = field(default_factory=set)
    columns: int = 2
    home: Path = Path()

    def _alive(self, name: str) -> None:
        if name in self.dead:
            raise UnavailableError(f"the {name} actor is not running: start the platform with `raymlops up`")

    def status(self) -> list[ControlStatus]:
        """Of the controller."""
        self._alive("controller")
        plans = self.metadata.plans.served_plans()
        return [self._status(plan, ", ".join(sorted(plans))) for plan in plans.values()]

    def _status(self, plan: ServingPlan, names: str) -> ControlStatus:
        troubled = plan.trial is not None
        return ControlStatus(
            model=plan.model,
            phase=Phase.ON_TRIAL if troubled else Phase.SERVING,
            champion=plan.champion,
            champion_since=plan.created_at,
            backup=plan.backup,
            trial=plan.trial,
            blocked=plan.blocked,
            verdict=_verdict(),
            reasons=(Reason(kind="broken_data", text=EVIL, remedy=EVIL, until=NOW + DAY),)
            if troubled
            else (Reason(kind="fleet", text=f"1 of 1 runs are under way; before it comes {names}", remedy="wait"),),
            labels="350 of 400 rows are labelled",
            last_turn_at=NOW - timedelta(seconds=20),
            problem=EVIL if troubled else None,
        )

    def why(self, model: str, at: datetime | None = None) -> Why:
        """Of the controller."""
        self._alive("controller")
        plan = self.metadata.plans.find_plan(model)
        if plan is None:
            raise NotFoundError(f"model {model!r} was not deployed")
        standing = () if plan.trial is None else (_standing(plan, at or NOW),)
        return Why(
            model=model,
            at=at or NOW,
            phase=Phase.ON_TRIAL if plan.trial else Phase.SERVING,
            champion=plan.champion,
            champion_since=plan.created_at,
            verdict=_verdict(),
            reasons=(Reason(kind="cooldown", text=f"cooldown {EVIL}", remedy="wait", until=NOW + DAY),),
            standings=standing,
            window=self.metadata.windows.list_windows(model)[-1],
            decisions=tuple(reversed(self.metadata.browser.newest_entries([model], 5))),
        )

    def statuses(self) -> list[EndpointStatus]:
        """Of the reconciler."""
        self._alive("reconciler")
        plans = self.metadata.plans.served_plans().values()
        return [
            EndpointStatus(
                model=plan.model,
                plan=plan.number,
                champion=plan.champion,
                replicas=1,
                answering=0 if plan.trial else 1,
                answers=plan.trial is None,
                reason=EVIL if plan.trial else None,
                seen_at_s=NOW.timestamp(),
            )
            for plan in plans
        ]

    def report(self, model: str, start: datetime | None = None, end: datetime | None = None) -> MonitorReport:
        """Of the monitor."""
        self._alive("monitor")
        windows = tuple(self.metadata.windows.list_windows(model, start, end))
        if self.columns > 2 and windows:
            one = windows[-1].columns["age"]
            wide = {f"column-{number}": one for number in range(self.columns)}
            windows = tuple(window.model_copy(update={"columns": wide}) for window in windows)
        shares = Distribution(EVIL, windows[-1].start, (EVIL, "b"), (0.5, 0.5), (0.4, 0.6)) if windows else None
        return MonitorReport(model, NOW, windows, (shares,) if shares else (), reasons=())

    def environments(self) -> list[str]:
        """Of the features."""
        return ["dev", EVIL]

    def listing(self, environment: str | None = None) -> list[dict[str, Any]]:
        """Of the features."""
        self._alive("features")
        view = {
            "kind": "view", "name": "spending", "version": 1, "entity": "user", "fields": ["mean", EVIL],
            "owner": EVIL, "description": EVIL, "tags": {EVIL: EVIL}, "ttl_s": 3600.0, "rows": 1000,
            "newest_event_time": NOW.isoformat(),
        }  # fmt: skip
        entity = {"kind": "entity", "name": "user", "version": None, "fields": ["user_id"]}
        services = [
            {"kind": "service", "name": name, "version": 1, "fields": ["spending:mean"]}
            for name in self.metadata.plans.served_plans()
        ]
        return [entity, view, *services]

    def search(self, text: str = "", environment: str | None = None) -> list[FeatureMatch]:
        """Of the features."""
        self._alive("features")
        match = FeatureMatch(
            kind="view", name="spending@1", owner=EVIL, description=EVIL, tags={EVIL: EVIL}, matched=("name", EVIL)
        )
        found = [match] if text.lower() in "spending" else []
        named = [name for name in self.metadata.plans.served_plans() if text.lower() in name]
        return found + [match.model_copy(update={"kind": "service", "name": f"{name}@1"}) for name in named]

    def describe(self, name: str, environment: str | None = None) -> FeatureDescription:
        """Of the features."""
        self._alive("features")
        plans = self.metadata.plans.served_plans()
        if name.partition("@")[0] in plans:
            return _service(name.partition("@")[0])
        if name.partition("@")[0] != "spending":
            raise NotFoundError(
                f"no definition is called {name!r}, got {['spending', *plans]}: {name!r} is not applied"
            )
        node = LineageNode(kind="view", name="spending@1")
        table = LineageNode(kind="table", name="spending")
        lineage = FeatureLineage(
            subject=node,
            upstream=(LineageEdge(source=table, target=node),),
            downstream=tuple(edge for name in self.metadata.plans.served_plans() for edge in _uses(node, name)),
        )
        fresh = FeatureFreshness(
            view="spending@1", table="spending", rows=1000, newest_event_time=NOW, age_s=60.0, verdict="fresh"
        )
        return FeatureDescription(
            kind="view", name="spending@1", definition={"owner": EVIL, "ttl": 3600.0}, statistics=_statistics(),
            freshness=fresh, lineage=lineage,
        )  # fmt: skip

    def logs(self, run_id: str, step: str | None = None) -> str:
        """Of the runs."""
        self._alive("runs")
        return f"==> {step or 'all'} of {run_id} <==\n{EVIL}\n"

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """Of the registry."""
        if version > 1:
            raise NotFoundError(f"version {version} of {name!r} was registered by hand and has no card")
        return {"model": name, "note": EVIL, "metrics": {"log_loss": 0.4}}, "<html></html>"

    def laboratory(self, model: str) -> dict[str, Any]:
        """Of the home."""
        self._alive("runs")
        return read_report(report_path(self.home, model))

    def nodes(self) -> Sequence[NodeView]:
        """Of Ray."""
        self._alive("cluster")
        return [NodeView("10.0.0.1", alive=True, head=True, resources={"CPU": 2.0, "memory": 1e9})]

    def actors(self) -> Sequence[ActorView]:
        """Of Ray."""
        return [ActorView("metadata", answers=True), ActorView("monitor", answers=False, problem=EVIL)]

    def free_cpus(self) -> Mapping[str, float]:
        """Of Ray."""
        return {"abc": 1.0}


class NoEvents:
    """A prediction log in which nothing is."""

    def batches(self, name: str, start: datetime | None, end: datetime | None, column: str) -> Any:
        """No rows."""
        del name, start, end, column
        return iter(())


def _verdict() -> RetrainVerdict:
    regret = RegretStanding(
        pays=False, expected=0.02, bar=0.05, accrued=0.013, price=0.04, age_windows=9, probed_windows=20, loss=0.41,
        start=NOW - DAY, end=NOW, reason=EVIL,
    )  # fmt: skip
    return RetrainVerdict(outcome=RetrainOutcome.QUIET, reason=f"nothing fired {EVIL}", regret=regret)


def _standing(plan: ServingPlan, at: datetime) -> Standing:
    age = max((at - plan.created_at) / DAY, 0.05)
    half = 0.05 / math.sqrt(age)
    facts = {
        "difference": -0.01, "lower": -0.01 - half, "upper": -0.01 + half, "allowed": 0.02, "compared_rows": 240,
        "faults": 1, "requests": 300, "fault_evidence": 0.4, "fault_bar": 50.0, "late_evidence": 0.1, "late_bar": 100.0,
    }  # fmt: skip
    guards = (
        Guard(name="faults", reached=False, value=0.4, bar=50.0, text=f"faults: 1 of 300 {EVIL}"),
        Guard(name="worse", reached=False, value=-0.06, bar=0.0, text="worse: loss differs by -0.01"),
        Guard(name="as_good", reached=False, value=0.04, bar=0.02, text="as good: loss differs by -0.01"),
        Guard(name="labelled_rows", reached=True, value=240, bar=200, text="labelled rows compared: 240 of 200"),
    )
    return Standing(
        kind="trial", version=4, compared_with=plan.champion, since=plan.created_at, look_at=at, verdict=Verdict.WAIT,
        reason=EVIL, guards=guards, labelled_share=0.8, label_lean=0.01, facts=facts,
    )  # fmt: skip


def _uses(view: LineageNode, model: str) -> tuple[LineageEdge, ...]:
    """From a view to the version and the endpoint of a model."""
    service, version = LineageNode(kind="service", name=f"{model}@1"), LineageNode(kind="model", name=f"{model}@1")
    data = LineageNode(kind="training set", name=f"set-of-{model}")
    ways = ((view, service), (service, data), (data, version), (service, LineageNode(kind="endpoint", name=model)))
    return tuple(LineageEdge(source=source, target=target) for source, target in ways)


def _service(model: str) -> FeatureDescription:
    view = LineageNode(kind="view", name="spending@1")
    first, *rest = _uses(view, model)
    lineage = FeatureLineage(subject=first.target, upstream=(first,), downstream=tuple(rest))
    return FeatureDescription(
        kind="service", name=f"{model}@1", definition={"features": ["spending:mean"]}, statistics=None, freshness=None,
        lineage=lineage,
    )  # fmt: skip


def _statistics() -> ViewStatistics:
    numbers = FieldStatistics(
        name="mean", dtype="float64", values=990, missing_share=0.01, distinct=500, distinct_error=0.0, minimum=0.0,
        maximum=90.0, mean=20.0, std=8.0,
        quantiles={"0.05": 2.0, "0.25": 10.0, "0.5": 20.0, "0.75": 30.0, "0.95": 70.0},
    )  # fmt: skip
    texts = FieldStatistics(
        name=EVIL, dtype="string", values=900, missing_share=0.1, distinct=2, distinct_error=0.0,
        frequent=(FrequentValue(value=EVIL, rows=600), FrequentValue(value="b", rows=300)),
    )  # fmt: skip
    return ViewStatistics(
        view="spending@1", table="spending", table_version=3, rows=1000, keys=100, duplicates=0,
        first_event_time=NOW - 30 * DAY, last_event_time=NOW, fields={"mean": numbers, EVIL: texts},
    )  # fmt: skip


def make_sources(
    home: Path, *, filled: Path | None = None, empty: bool = False, dead: Sequence[str] = (), columns: int = 2
) -> tuple[Sources, Callable[[], None]]:
    """The sources of a filled platform, and what closes them; ``filled`` is a database to begin with a copy of."""
    clock = ManualClock(NOW)
    if filled is not None:
        shutil.copy(filled, home / "metadata.db")
    metadata = MetadataService(home / "metadata.db", clock=clock)
    if filled is None and not empty:
        fill(metadata)
    parts = Parts(metadata, set(dead), columns, home)
    sources = Sources(
        metadata=metadata,
        control=parts,
        endpoints=parts,
        monitor=parts,
        features=parts,
        runs=parts,
        cards=parts,
        laboratory=parts,
        lineage=Lineages(metadata, NoEvents()),
        cluster=parts,
        config=PlatformConfig(home=home),
        setting_sources=lambda: {"serving.port": EVIL},
        clock=clock,
        version="1.2.3",
    )
    return sources, metadata.close
