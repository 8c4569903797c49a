"""What a round of the controller's turns costs over many models, beside the reads of its stores."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from typing import Any

from raymlops.clock import ManualClock
from raymlops.config import ControlConfig, CronTrigger, DriftCount, FleetConfig, RetrainConfig, TriggersConfig
from raymlops.control import Controller
from raymlops.testing.control_examples import DAY, START, example_plan, example_run, example_window
from tests.support.control import FakeActuator, FakeObserver, InMemoryLedger

__all__ = ["MODELS", "measure"]

MODELS = 100
_WINDOWS, _RUNS, _ROUNDS = 26, 10, 30


def measure() -> dict[str, Any]:
    """CPU time of one round over 100 models with 26 windows and 10 runs each, in milliseconds: median and quickest."""
    return {"quiet_ms": _measure(drifting=False), "all_but_4_wait_ms": _measure(drifting=True)}


def _measure(*, drifting: bool) -> dict[str, float]:
    controller = _controller(drifting=drifting)
    controller.step()
    taken_ms = []
    for _ in range(_ROUNDS):
        begun_s = time.process_time()
        controller.step()
        taken_ms.append((time.process_time() - begun_s) * 1000)
    return {"median": round(statistics.median(taken_ms), 1), "quickest": round(min(taken_ms), 1)}


def _controller(*, drifting: bool) -> Controller:
    """Models whose windows drift one day a week; all of them want a retraining where ``drifting``."""
    clock = ManualClock(START + _WINDOWS * DAY)
    observer = FakeObserver()
    for number in range(MODELS):
        model = f"model-{number:03d}"
        observer.put_plan(example_plan(model=model))
        observer.windows_of[model] = [
            example_window(day, model=model, drifted=drifting and (day + number) % 7 == 0) for day in range(_WINDOWS)
        ]
        for run in range(_RUNS):
            observer.put_run(model, example_run(f"{model}-{run}", at=START - (run + 1) * DAY, outcome="refused"))
    config = ControlConfig(
        triggers=TriggersConfig(
            drift=DriftCount(n=1, of=1), cron=CronTrigger(at="0 3 * * *", zone="Europe/Berlin") if drifting else None
        ),
        retrain=RetrainConfig(min_labelled_rows=0, cooldown=timedelta()),
        fleet=FleetConfig(runs_at_once=4, budget_runs=50),
    )
    ledger = InMemoryLedger(clock)
    actuator = FakeActuator(observer, clock)
    return Controller(clock=clock, ledger=ledger, observer=observer, actuator=actuator, config=config)
