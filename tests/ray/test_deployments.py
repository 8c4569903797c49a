from __future__ import annotations

import pytest

from raymlops.config.serving import AutoscalingConfig, ServingConfig
from raymlops.runtime.serve.deployments import deployment_of

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("upscale_delay", "look_back_s", "interval_s"),
    [("100ms", 2, 0.5), ("8s", 8, 2), ("30s", 30, 7.5), ("10m", 30, 7.5)],
)
def test_serve_looks_back_no_longer_than_the_delay(upscale_delay: str, look_back_s: float, interval_s: float) -> None:
    scaling = AutoscalingConfig.model_validate({"max_replicas": 4, "upscale_delay": upscale_delay})
    made = deployment_of(type("Replica", (), {}), ServingConfig(), cpus=0.1, replicas=2, scaling=scaling)
    found = made._deployment_config.autoscaling_config
    assert (found.min_replicas, found.max_replicas) == (2, 4)
    assert (found.look_back_period_s, found.metrics_interval_s) == (look_back_s, interval_s)
    assert found.upscale_delay_s == scaling.upscale_delay.total_seconds()
