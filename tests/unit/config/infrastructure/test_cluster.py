from __future__ import annotations

from raymlops.config import ClusterConfig, FastSettings


def test_fast_settings_as_variables() -> None:
    assert ClusterConfig().fast.environment() == {
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
        "RAY_SERVE_PROXY_USE_GRPC": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "raymlops.runtime.serve.http_middleware.middlewares",
    }
    through_serve = FastSettings(direct_answers=False).environment()
    assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" not in through_serve
    assert FastSettings(ha_proxy=False).environment()["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
