"""The Ray cluster the platform runs on."""

from __future__ import annotations

from pydantic import Field

from raymlops.config.section import Section, Span
from raymlops.config.section import parse_duration as _d

__all__ = ["ClusterConfig", "FastSettings"]


class FastSettings(Section):
    """Settings of Ray Serve that cost nothing and are fast; they hold for a cluster from its start."""

    ha_proxy: bool = True
    """Put HAProxy in front of the replicas."""
    throughput_optimized: bool = True
    """Run user code on the replica's own event loop, and buffer its request log."""
    ha_proxy_threads: int = Field(1, ge=1, le=64)
    """Threads of HAProxy; one per two cores."""
    ha_proxy_metrics: bool = False
    """Have a Python process take apart a line of HAProxy's log per request; replicas count more, for less."""
    direct_answers: bool = True
    """Have replicas answer past what Serve does for each request, which costs more than most predictions. Endpoints
    that are scaled, or log every request, go through Serve all the same; it then does not watch whether the caller is
    still there."""
    niceness: int = Field(0, ge=0, le=19)
    """Of the cluster's workers; Ray's own 15 lets everything else on the machine go before a prediction. Training is
    nice by itself."""
    min_draining: Span = _d("2s")
    """How long a replica that is being stopped is kept for requests under way; Ray's own default is 30s."""

    def environment(self) -> dict[str, str]:
        """The environment variables that ``ray start --head`` must see."""
        direct = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "raymlops.runtime.serve.http_middleware.middlewares"}
        return {
            **(direct if self.direct_answers else {}),
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": str(int(self.ha_proxy_metrics)),
            "RAY_worker_niceness": str(self.niceness),
            # replicas call each other through Ray's own ports, which need the token (runtime/serve/internal_port.py)
            "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
            "RAY_SERVE_PROXY_USE_GRPC": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": str(int(self.ha_proxy)),
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(self.throughput_optimized)),
            "RAY_SERVE_HAPROXY_NBTHREAD": str(self.ha_proxy_threads),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{self.min_draining.total_seconds():g}",
        }


class ClusterConfig(Section):
    """Where Ray runs, and what the platform may use of it."""

    address: str | None = Field(None, min_length=1)
    """``host:port`` of a running cluster to attach to; null starts a local head."""
    num_cpus: int | None = Field(None, ge=1)
    """Logical CPUs of the local head; null takes the machine's."""
    object_store_bytes: int = Field(1 << 30, ge=75 << 20)
    """Memory of the local head's object store."""
    host: str = Field("127.0.0.1", min_length=1)
    """Address that Ray's own ports of the local head are bound to; name one of the machine's to let others join."""
    start_timeout: Span = _d("90s")
    """Deadline, on the wall clock, for the local head to be up."""
    boot_timeout: Span = _d("120s")
    """Deadline, on the wall clock, for the control actors and Serve to be up once the cluster is."""
    call_timeout: Span = _d("60s")
    """Deadline, on the wall clock, of one call to a control actor, its restarts included."""
    free_cpus_timeout: Span = _d("60s")
    """How long a run waits for free CPUs before it gives up with an error that names what holds them."""
    run_deadline: Span = _d("6h")
    """How long the steps of a run may take together; then it fails."""
    trial_cpus: float = Field(1.0, gt=0)
    """Logical CPUs of one trial of a search; as many trials run at once as are free."""
    connections_per_address: int | None = Field(None, ge=1)
    """Connections that one address may hold open to the HTTP port; null: half of all that there can be. Behind a proxy
    everybody comes from its address: leave it null there, and limit callers at the proxy."""
    fast: FastSettings = FastSettings()
    """Serve settings of the local head."""
