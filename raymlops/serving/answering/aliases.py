"""A replica's figures under the names that KServe's and MLServer's dashboards ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from raymlops.serving.answering.metrics import Family, Sample

__all__ = ["AliasKind", "aliased"]

AliasKind = Literal["kserve", "mlserver"]

_KSERVE = {"preprocess": "pre-process", "predict": "predict", "postprocess": "post-process"}
_Labelled = tuple[Mapping[str, str], Family]


def aliased(kinds: Sequence[AliasKind], model: str, replica: str, families: Sequence[Family]) -> Iterator[_Labelled]:
    """The figures of one replica under other systems' names, each with the labels that all its samples have.

    The labels are theirs. The replica is called ``pod``, as Kubernetes has Prometheus call it.

    Args:
        kinds: Whose names.
        model: Name of the model.
        replica: Which of its replicas.
        families: As ``Endpoint.families`` gives them.
    """
    found = {family.name: family.samples for family in families}
    for kind in kinds:
        yield from _MAKERS[kind](model, replica, found)


def _kserve(model: str, replica: str, found: Mapping[str, list[Sample]]) -> Iterator[_Labelled]:
    labels = {"model_name": model, "pod": replica}
    stages = found.get("infer_stage_duration_seconds", [])
    for stage, text in _KSERVE.items():
        samples = [
            Sample(
                sample.suffix, {name: value for name, value in sample.labels.items() if name != "stage"}, sample.value
            )
            for sample in stages
            if sample.labels["stage"] == stage
        ]
        if samples:
            yield labels, Family(f"request_{stage}_seconds", "histogram", f"{text} request latency", samples)


def _mlserver(model: str, replica: str, found: Mapping[str, list[Sample]]) -> Iterator[_Labelled]:
    labels = {"model": model, "pod": replica}
    replies = found.get("infer_requests_total", [])
    succeeded: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for sample in replies:
        version, status = sample.labels["version"], int(sample.labels["code"])
        if status >= 400:
            failed[version] += int(sample.value)
        elif version:  # a reply without a version is no prediction
            succeeded[version] += int(sample.value)
    yield from _counter(labels, "success", succeeded)
    yield from _counter(labels, "failure", failed)
    durations = found.get("infer_request_duration_seconds", [])
    summary = [sample for sample in durations if sample.suffix in ("_count", "_sum")]
    if summary:
        yield labels, Family("model_infer_request_duration", "summary", "Model infer request duration", summary)


def _counter(labels: Mapping[str, str], what: str, counts: Counter[str]) -> Iterator[_Labelled]:
    if counts:
        samples = [Sample("", {"version": version}, float(count)) for version, count in counts.items()]
        yield (
            labels,
            Family(f"model_infer_request_{what}_total", "counter", f"Model infer request {what} count", samples),
        )


_MAKERS: dict[AliasKind, Callable[[str, str, Mapping[str, list[Sample]]], Iterator[_Labelled]]] = {
    "kserve": _kserve,
    "mlserver": _mlserver,
}
