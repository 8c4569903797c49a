"""``python -m benchmarks.run``: every figure of docs/benchmarks.md, as JSON."""

from __future__ import annotations

import json
import sys

from benchmarks import (
    autoscaling,
    batch_score,
    beside_training,
    concept_drift,
    console,
    control_turns,
    domain_classifier,
    drift,
    estimated_performance,
    false_alarms,
    fleet_alarms,
    frame_pipeline,
    ingest_events,
    ingest_rows,
    join,
    join_large,
    loop,
    metadata,
    online,
    pipeline,
    policies,
    policy_choice,
    pools,
    profile_large,
    referee,
    serving,
    serving_grpc,
    serving_overhead,
    swaps,
    tracing,
    train_large,
    trials,
    tuning,
)
from benchmarks.sizing import costs

FIGURES = {
    "autoscaling": autoscaling.measure,
    "batch_score": batch_score.measure,
    "concept_drift": concept_drift.measure,
    "console": console.measure,
    "control_turns": control_turns.measure,
    "domain_classifier": domain_classifier.measure,
    "drift": drift.measure,
    "false_alarms": false_alarms.measure,
    "false_alarms_beside_evidently": false_alarms.measure_beside_evidently,
    "estimated_performance": estimated_performance.measure,
    "fleet_alarms": fleet_alarms.measure,
    "frame_pipeline": frame_pipeline.measure_in_process,
    "frame_pipeline_http": frame_pipeline.measure_over_http,
    "ingest_events": ingest_events.measure,
    "ingest_rows": ingest_rows.measure,
    "join": join.measure,
    "join_large": join_large.measure,
    "loop": loop.measure,
    "online": online.measure,
    "pipeline": pipeline.measure,
    "policies": policies.measure,
    "policy_choice": policy_choice.measure,
    "referee": referee.measure,
    "pool_of_30": pools.measure_thirty,
    "pool_of_300": pools.measure_zipf,
    "profile_large": profile_large.measure,
    "serving": serving.measure,
    "serving_beside_training": beside_training.measure,
    "serving_grpc": serving_grpc.measure,
    "serving_overhead": serving_overhead.measure,
    "sizing": costs.measure,
    "swaps": swaps.measure,
    "tracing": tracing.measure,
    "trials": trials.measure,
    "tuning": tuning.measure,
    "metadata_writes": metadata.measure_writes,
    "metadata_queries": metadata.measure_queries,
    "train_large": train_large.measure,
}


def main(names: list[str]) -> None:
    """Measure the named figures, or all."""
    for name in names or list(FIGURES):
        print(json.dumps({name: FIGURES[name]()}, indent=2), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
