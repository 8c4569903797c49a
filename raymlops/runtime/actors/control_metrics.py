"""The controller's and the reconciler's figures for the metrics page."""

from __future__ import annotations

from collections.abc import Iterator

from raymlops.control import ControlStatus
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.serving.answering.metrics import Family, Sample, family_of

__all__ = ["control_families", "endpoint_families"]


def endpoint_families(status: EndpointStatus) -> list[Family]:
    """Metrics of one model's endpoint for Prometheus, as it was last seen from outside."""
    levels = {
        "endpoint_answers": ("Whether callers of the model get answers.", status.answers),
        "endpoint_as_planned": ("Whether every replica serves the newest plan.", status.as_planned),
        "endpoint_planned_replicas": ("Replicas that the newest plan names.", status.replicas),
        "endpoint_answering_replicas": ("Replicas that serve the newest plan.", status.answering),
    }
    return [family_of(name, "gauge", text, float(value)) for name, (text, value) in levels.items()]


def control_families(status: ControlStatus) -> list[Family]:
    """Metrics of one model's turns for Prometheus."""
    return list(_families(status))


def _families(status: ControlStatus) -> Iterator[Family]:
    if status.last_turn_at is not None:
        text = "When a turn of the model last came to its end without trouble, on the platform's clock."
        yield family_of("last_turn_timestamp_seconds", "gauge", text, status.last_turn_at.timestamp())
    text = "Turns of the model that came to no end since the controller's start."
    yield family_of("failed_turns_total", "counter", text, status.failed_turns)
    text = "How long the turn under way has taken; 0 where none is."
    yield family_of("turn_seconds", "gauge", text, status.turn_taken_s or 0.0)
    text = "1 where the last turn came to no end, or the one under way takes longer than it may."
    yield family_of("problem", "gauge", text, float(status.problem is not None))
    text = "1 for each thing that stands against a retraining now."
    kinds = sorted({reason.kind for reason in status.reasons})
    if kinds:
        yield Family("against_retraining", "gauge", text, [Sample("", {"reason": kind}, 1.0) for kind in kinds])
    text = "Rows of prediction events that were lost or refused since the monitor's start."
    yield family_of("dropped_event_rows", "gauge", text, status.dropped_events)
    text = "Rows whose event time is no sane one, since the monitor's start: kept, and in no window."
    yield family_of("out_of_bounds_event_rows", "gauge", text, status.out_of_bounds_events)
