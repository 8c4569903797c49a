from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from raymlops.runtime.actors.metrics_server import ReplicaFigures
from raymlops.serving.answering.metrics import ServingMetrics


def page(*aliases: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    metrics = ServingMetrics()
    for _ in range(3):
        metrics.replied(200, 7, 0.02)
        metrics.staged(0, 1_000_000, 5_000_000, 6_000_000)
    metrics.replied(503, 7, 0.01)
    metrics.replied(429, None, 0.0)
    metrics.replied(400, None, 0.0)
    metrics.replied(200, None, 0.0)  # the plan, or labels
    figures = ReplicaFigures(aliases=aliases)  # type: ignore[arg-type]
    figures.put("churn", "r1", list(metrics.families()))
    families = text_string_to_metric_families(figures.render())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted({"pod": "r1", **labels}.items()))]


def test_nobody_else_s_names_are_shown_unasked() -> None:
    assert {name for name, _ in page() if not name.startswith("raymlops_")} == set()


def test_kserve_names_and_labels() -> None:
    found = page("kserve")
    for stage, total_s in (("preprocess", 0.003), ("predict", 0.012), ("postprocess", 0.003)):
        assert of(found, f"request_{stage}_seconds_count", model_name="churn") == 3
        assert abs(of(found, f"request_{stage}_seconds_sum", model_name="churn") - total_s) < 1e-9
        assert of(found, f"request_{stage}_seconds_bucket", model_name="churn", le="+Inf") == 3
    assert not any(name.startswith("model_infer_") for name, _ in found)


def test_mlserver_names_and_labels() -> None:
    found = page("mlserver")
    assert of(found, "model_infer_request_success_total", model="churn", version="7") == 3
    assert of(found, "model_infer_request_failure_total", model="churn", version="7") == 1
    assert of(found, "model_infer_request_failure_total", model="churn", version="") == 2
    assert of(found, "model_infer_request_duration_count", model="churn", version="7") == 4
    assert abs(of(found, "model_infer_request_duration_sum", model="churn", version="7") - 0.07) < 1e-9
    assert ("model_infer_request_success_total", (("model", "churn"), ("pod", "r1"), ("version", ""))) not in found
