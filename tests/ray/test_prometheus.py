"""A real Prometheus finds the platform by Ray's own configuration, and can answer what the dashboard asks."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import requests
import yaml

from raymlops.monitoring.report.dashboard import ROWS
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, Performance, WindowRecord

if TYPE_CHECKING:
    from raymlops.platform import Platform

# slow: what is served, and the rules, are tried without a cluster in tests/unit and tests/repo/test_alert_rules.py
pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 60.0
ROOT = Path(__file__).parents[2]
MODEL, WINDOWED = "scraped", "scraped-windows"
NOT_YET = {"raymlops_model_fallbacks_total"}
"""Counters that come into being with the first time that they count."""


def eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def traffic(platform: Platform) -> None:
    """A model that was asked, with a closed window; a view with a row; a run."""
    from sklearn.linear_model import LogisticRegression

    from raymlops.features import Entity, FeatureView, Field
    from raymlops.runtime.cluster.clients import metadata_stores

    now, metadata = platform.clock.now(), metadata_stores()
    rows = np.random.default_rng(0).normal(size=(100, 2))
    example = pa.table({"a": rows[:, 0], "b": rows[:, 1]})
    version = platform.models.register(MODEL, LogisticRegression().fit(rows, rows[:, 0] > 0), example=example).version
    platform.endpoints.deploy(MODEL, version)
    platform.apply(
        view := FeatureView("scraped", Entity("scraped_user", ["user"]), [Field("x", "float64")], ttl=timedelta(days=1))
    )
    times = pa.array([now - timedelta(hours=1)], pa.timestamp("us", tz="UTC"))
    platform.features.push(view.name, pa.table({"user": ["ada"], "event_time": times, "x": [1.0]}))
    metadata.runs.create_run(Run(id="scraped-1", pipeline="scraped", status="succeeded", created_at=now, ended_at=now))
    column = ColumnDrift(score=0.2, threshold=0.1, p_value=0.0, drifted=True, importance=0.5)
    found: Any = {"rows": 9, "metrics": {"auc": 0.8}, "intervals": {"auc": (0.7, 0.9)}}
    window = WindowRecord(
        model=WINDOWED, start=now - timedelta(hours=1), end=now, champion=1, rows=9, columns={"a": column},
        reference_metrics={"auc": 0.8}, performance={1: Performance(labelled_rows=9, label_lean=0.1, **found)},
        estimated={1: EstimatedPerformance(method="recalibrated", effective_rows=9, **found)},
    )  # fmt: skip
    # planned to be served by nobody, so that the loop does not go on from a window that it did not close
    metadata.plans.put_plan(ServingPlan(model=WINDOWED, number=1, champion=1, served=False, created_at=now))
    metadata.windows.put_window(window, b"")
    body = {"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}
    for _ in range(20):
        assert requests.post(f"{platform.url}/v2/models/{MODEL}/infer", json=body, timeout=10).status_code == 200
    platform.control.step()


def config_of(platform: Platform, directory: Path) -> Path:
    """What Ray's dashboard set up, with shorter pauses and our rules; on a cluster of somebody else, our file alone."""
    import ray

    from raymlops.runtime.cluster.metrics_discovery import DISCOVERY_FILE
    from raymlops.runtime.supervision.home_note import noted_cluster

    note = noted_cluster(platform.config.home)
    if note is not None and not note.foreign:
        session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
        config = yaml.safe_load((session / "metrics" / "prometheus" / "prometheus.yml").read_text())
        assert str(session / DISCOVERY_FILE) in config["scrape_configs"][0]["file_sd_configs"][0]["files"]
    else:
        files = [str(platform.config.home / DISCOVERY_FILE)]
        config = {"scrape_configs": [{"job_name": "ray", "file_sd_configs": [{"files": files}]}]}
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "configs" / "prometheus" / "rules.yml")]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def prometheus(
    platform: Platform, traffic: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, dict[str, str]], Any]]:
    """Asks a Prometheus that has scraped the platform."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus, of Debian's package of that name")
    directory = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [program, f"--config.file={config_of(platform, directory)}", f"--web.listen-address={address}"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"--storage.tsdb.path={directory / 'data'}"], stdout=log, stderr=subprocess.STDOUT
        )

    def ask(path: str, parameters: dict[str, str]) -> Any:
        answer = requests.get(f"http://{address}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["status"] == "success"
        return found["data"]

    def is_ready() -> bool:
        assert server.poll() is None, (directory / "log").read_text()
        try:
            return requests.get(f"http://{address}/-/ready", timeout=10).status_code == 200
        except requests.ConnectionError:
            return False

    try:
        eventually(is_ready)
        yield ask
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_every_expression_of_the_dashboard_is_answered(prometheus: Callable[[str, dict[str, str]], Any]) -> None:
    counted = f'raymlops_model_infer_requests_total{{job="raymlops",model="{MODEL}",code="200"}}'
    eventually(lambda: any(float(of["value"][1]) >= 20 for of in prometheus("query", {"query": counted})["result"]))
    eventually(lambda: prometheus("query", {"query": f'raymlops_control_problem{{model="{MODEL}"}}'})["result"])
    there = set(prometheus("label/__name__/values", {}))
    for expression in (query.expression for panels in ROWS.values() for panel in panels for query in panel.queries):
        names = set(re.findall(r"\braymlops_\w+", expression))
        assert names - there <= NOT_YET, expression
        asked = expression.replace("$model", ".*").replace("$__rate_interval", "30s").replace("$__range", "1h")
        assert "$" not in asked
        prometheus("query", {"query": asked})
    up = prometheus("query", {"query": "raymlops_scrape_up"})["result"]
    assert {of["metric"]["part"]: of["value"][1] for of in up} == dict.fromkeys(
        ("serving", "endpoints", "features", "monitoring", "control", "runs", "ledger", "disk"), "1"
    )


def test_the_names_of_other_systems_are_there_too(prometheus: Callable[[str, dict[str, str]], Any]) -> None:
    for theirs in (
        f'sum(request_predict_seconds_count{{model_name="{MODEL}"}})',
        f'sum(model_infer_request_success_total{{model="{MODEL}"}})',
    ):

        def counted(theirs: str = theirs) -> Any:  # over all replicas, of which each has a series
            found = prometheus("query", {"query": theirs})["result"]
            return found and float(found[0]["value"][1]) >= 20

        assert eventually(counted)


def test_the_rules_are_loaded_and_healthy(prometheus: Callable[[str, dict[str, str]], Any]) -> None:
    def evaluated() -> Any:
        rules = [rule for group in prometheus("rules", {})["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    assert {rule["name"]: rule["health"] for rule in eventually(evaluated)} == {
        rule["alert"]: "ok"
        for group in yaml.safe_load((ROOT / "configs" / "prometheus" / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    }


def test_a_model_is_scored_by_what_the_platform_has_recorded(
    platform: Platform, traffic: None, command: Callable[..., Any]
) -> None:
    done = command("score", MODEL)
    assert done.returncode == 0, done.stderr
    assert f"{MODEL}: ML Test Score 0 of 7" in done.stdout  # by hand, and without a pipeline: it earns little
    found = {item.id: item for item in platform.control.score(MODEL).items}
    assert found["infrastructure-4"].evidence[0].id == f"version:{MODEL}@1"
    assert found["infrastructure-4"].status == "missing"
