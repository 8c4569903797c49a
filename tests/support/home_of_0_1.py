"""How ``tests/data/home-0.1.tar.xz`` was made: by the code of commit bbf603d, which was version 0.1.

In a checkout of that commit, with a Ray cluster allowed: ``python home_of_0_1.py HOME ARCHIVE``. The archive holds the
home of a platform that was used and stopped, and ``facts.json``: what that version said of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

__all__ = ["LEFT_OUT", "MODEL", "as_json", "said_of", "table_facts"]

MODEL, SERVICE = "visits", "visits"
START, DAYS, ROWS = datetime(2025, 1, 1, tzinfo=UTC), 60, 900
LEFT_OUT = (
    "ray",
    "logs",
    "tests.txt",
    "mlflow",
    "project",
    "replay.jsonl",
    "auth_token",
    "cluster.json",
    "supervisor",
    "spool",
)
"""Of the home, what is no record: logs, printed tests, MLflow's projection, and what belongs to running processes."""


def as_json(record: Any) -> Any:
    """A record as JSON values."""
    return record.model_dump(mode="json")


def said_of(metadata: Any) -> dict[str, Any]:
    """Every record of a metadata service, by store."""
    environments = sorted({each.environment for each in metadata.deployments.list_live_deployments()})
    runs = metadata.runs.list_runs()
    versions = metadata.models.list_versions(MODEL)
    return {
        "runs": [as_json(each) for each in runs],
        "artifacts": [as_json(each) for run in runs for each in metadata.artifacts.run_artifacts([run.id])],
        "contexts": {
            kind: {each.name: metadata.contexts.context_runs(kind, each.name) for each in found}
            for kind in ("experiment", "environment")
            if (found := metadata.contexts.list_contexts(kind))
        },
        "versions": [as_json(each) for each in versions],
        "states": [as_json(e) for v in versions for e in metadata.models.state_history(MODEL, v.version)],
        "aliases": [as_json(each) for each in metadata.models.alias_history(MODEL)],
        "plans": [as_json(each) for each in metadata.plans.list_plans(MODEL)],
        "ledger": [as_json(each) for each in metadata.ledger.entries()],
        "windows": [as_json(each) for each in metadata.windows.list_windows(MODEL)],
        "profiles": len(metadata.profiles.list_profiles(MODEL)),
        "bundles": [as_json(each) for each in metadata.deployments.list_bundles()],
        "deployments": [as_json(e) for name in environments for e in metadata.deployments.list_deployments(name)],
        "keys": [as_json(each) for each in metadata.keys.list_keys()],
        "alerts": [as_json(each) for each in metadata.alerts.list_alerts()],
    }


def table_facts(table: pa.Table) -> dict[str, Any]:
    """Rows and columns of a table, and a digest of its values, whatever the order of the rows."""
    columns = sorted(table.column_names)
    lines = sorted(json.dumps(row, default=str, sort_keys=True) for row in table.select(columns).to_pylist())
    return {"rows": table.num_rows, "columns": columns, "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _write_table(path: Path) -> None:
    rng = np.random.default_rng(5)
    day = np.sort(rng.uniform(0, DAYS, ROWS))
    a, b = rng.normal(size=(2, ROWS))
    won = rng.random(ROWS) < 1 / (1 + np.exp(-2.0 * a - b))
    at = [(START + timedelta(days=each)).isoformat() for each in day.tolist()]
    users = [f"u{number}" for number in rng.integers(0, 8, ROWS)]
    outcome = np.where(won, "yes", "no")
    csv.write_csv(pa.table({"at": at, "user_id": users, "a": a, "b": b, "outcome": outcome}), path)


def _use(platform: Any, project: Any, plan: Any) -> dict[str, Any]:
    """Use the platform: four windows of requests, a pipeline's version and one by hand, a key, a promotion."""
    from sklearn.linear_model import LogisticRegression

    from raymlops.records.serving.keys import new_key
    from raymlops.replay.client import PredictionClient
    from raymlops.replay.player import Replay
    from raymlops.replay.run import deploy_project, feed_history, train_first
    from raymlops.replay.source import imported
    from raymlops.runtime.cluster.platform_clock import build_clock

    deploy_project(platform, project.directory)
    feed_history(platform, project, plan)
    train_first(platform, project, plan, seed=7)
    name = project.spec.service
    spine = imported(project.spec.spine, "spine")(platform.features, START, plan.trained_until).slice(0, 60)
    asked = [each for each in spine.column_names if each not in {"event_time", "label", "label_time"}]
    entities = spine.select(asked).slice(0, 2)
    training = platform.features.training_set(name, spine, name="by-hand")
    rows = training.table()
    example = rows.select(platform.models.get(MODEL, 1).manifest.signature.names)
    filled = example.select([each.name for each in example.schema if pa.types.is_floating(each.type)]).to_pandas()
    filled = filled.fillna(0.0)
    model = LogisticRegression().fit(filled.to_numpy(), rows["label"].to_pylist())
    example = pa.Table.from_pandas(filled, preserve_index=False)
    platform.models.register(MODEL, model, example=example, metrics={"log_loss": 0.5})
    key, _ = new_key("caller", ["infer"], platform.clock.now())
    platform.metadata.keys.put_key(key)

    answers: dict[str, list[float]] = {}

    async def ask() -> None:
        async with PredictionClient(platform.url, MODEL) as client:
            names = (project.spec.model, project.spec.name)
            replayed = Replay(platform, build_clock(platform.config), client, project.tables, plan, names=names, seed=7)
            async for window in replayed.windows():
                answers.update({each.request_id: list(each.prediction) for each in window.answers})
            assert client.tally.failed == 0, client.tally.failures

    asyncio.run(ask())
    platform.control.pause(MODEL, reason="an upgrade")
    request, answer = next(iter(answers.items()))
    online = platform.features.online(name, entities, at=plan.end)
    return {
        "training_set": training.manifest.digest,
        "training_rows": table_facts(rows),
        "request": request,
        "answer": answer,
        "online": online.select([each for each in online.column_names if "__" in each]).to_pylist(),
        "online_asked": json.loads(json.dumps(entities.to_pylist(), default=str)),
        "online_at": plan.end.isoformat(),
        "asked": len(answers),
    }


def make(home: Path, archive: Path) -> None:
    """Make the home and pack it."""
    import raymlops
    from raymlops import projects
    from raymlops.clock import ReplayClock
    from raymlops.metadata import MetadataService
    from raymlops.platform import connect
    from raymlops.replay.plan import Sample, Wishes
    from raymlops.replay.settings import free_port, plan_replay, platform_config
    from raymlops.replay.source import load_project

    with tempfile.TemporaryDirectory() as work:
        _write_table(Path(work) / "visits.csv")
        asked = projects.Asked("outcome", "at", ("user_id",), label_delay="1d", time_zone="UTC")
        directory = Path(work) / "visits"
        projects.make_project(str(Path(work) / "visits.csv"), directory, asked, name=MODEL, source="raymlops", raw=None)
        project = load_project(directory)
        wishes = Wishes(windows=4, sample=Sample(rows=40), window=timedelta(days=5))
        planned = plan_replay(project, wishes)
        config = platform_config(planned, home, free_port(), None)
        config = config.model_copy(update={"metadata": config.metadata.model_copy(update={"mlflow": False})})
        ReplayClock.opened(home / "clock", planned.plan.trained_until)
        with connect(config=config) as platform:
            facts = _use(platform, project, planned.plan)
            views = [each["name"] for each in platform.features.describe() if each["kind"] == "view"]
            facts["tables"] = {view: table_facts(platform.features.table(view)) for view in views}
            facts["events"] = table_facts(platform.models.asked(MODEL).select(["request_id", "score"]))
    metadata = MetadataService(home / "metadata.db")
    facts["records"] = said_of(metadata)
    metadata.close()
    facts["version"] = raymlops.__version__
    (home / "facts.json").write_text(json.dumps(facts))

    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(member.name).parts
        return None if any(part in LEFT_OUT or part.endswith((".log", ".lock")) for part in parts) else member

    with tarfile.open(archive, "w:xz", preset=9) as packed:
        packed.add(home, "home", filter=kept)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
