"""The prediction service."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, model_validator

from raymlops.config.section import Duration, Section, Span, is_loopback
from raymlops.config.section import parse_duration as _d

__all__ = [
    "AutoscalingConfig",
    "BatchingConfig",
    "BreakerConfig",
    "CandidateConfig",
    "EventLogConfig",
    "PoolConfig",
    "RequestLimits",
    "ServingConfig",
    "local_address",
]


class RequestLimits(Section):
    """What one request may hold, whatever the size of its body; beyond it the answer is 400."""

    infer_rows: int = Field(50_000, ge=1)
    """Rows of an infer request."""
    predict_rows: int = Field(1_000, ge=1)
    """Instances of a predict request: their features are joined in one piece."""
    labels: int = Field(10_000, ge=1)
    """Labels of a labels request."""
    text_chars: int = Field(65_536, ge=1)
    """Characters of a text input."""
    key_chars: int = Field(1_024, ge=1)
    """Characters of an entity key and of a label."""
    oldest: Span = _d("400d")
    """How long before the platform's clock ``at`` and a label's ``event_time`` may lie. Neither may lie after it."""


class EventLogConfig(Section):
    """How prediction events travel from a replica to the monitor."""

    flush_every: Span = _d("500ms")
    """Longest time an event waits in a replica; what a killed replica may lose."""
    flush_rows: int = Field(500, ge=1)
    """As many events are sent at once, before the time is up."""
    buffer_rows: int = Field(50_000, ge=1)
    """Events a replica holds while the monitor is away; beyond that they are dropped, and counted."""
    buffer_bytes: int = Field(256 << 20, ge=1024)
    """Memory that these events may take, estimated; beyond that they are dropped, and counted."""


class BatchingConfig(Section):
    """How requests that arrive together are predicted together, in each replica."""

    max_rows: int = Field(1_024, ge=1)
    """Most rows of one call of a model; a request with more is a call by itself."""
    max_wait: Duration = _d("0s")
    """How long a request waits for others, for models whose calls cost far more than their rows; 0s: not at all."""
    in_thread_above: Span = _d("10ms")
    """A call expected to take longer is made in a thread, so that other requests go on meanwhile."""


class BreakerConfig(Section):
    """When a version that keeps failing is not asked any more, and when it is tried again."""

    failures: int = Field(5, ge=1)
    """So many failures in a row open the breaker; as many answers in a row make it forget that it was open."""
    probe_after: Span = _d("1s")
    """After this, on the wall clock, the version is probed off the request path."""
    probe_after_max: Span = _d("10s")
    """The wait doubles with each probe that fails, up to this."""


class CandidateConfig(Section):
    """What a version on trial may use, in its own process, where the trial does not say."""

    cpus: float = Field(0.25, gt=0)
    """Logical CPUs that it holds."""
    memory_bytes: int = Field(2 << 30, ge=16 << 20)
    """Memory that it may take beyond what it holds once loaded; the kernel refuses more."""


class PoolConfig(Section):
    """The pool: a process in which the models answer whose plans say that they are pooled."""

    below_bytes: int | None = Field(None, ge=1)
    """A model whose files are smaller is pooled where its deployment does not say; null: none is."""
    memory_bytes: int = Field(1 << 30, ge=1 << 20)
    """Memory that the loaded models of one replica may take; beyond it, the model used longest ago leaves memory."""
    replicas: int = Field(1, ge=1)
    """Replicas of the pool; each of them can answer for every pooled model."""
    cpus: float = Field(0.25, gt=0)
    """Logical CPUs that one replica of the pool holds."""
    slow_above: Span = _d("100ms")
    """A model whose calls take longer on average, for ``moves_after``, moves out of the pool."""
    busy_above: float = Field(0.5, gt=0, le=1)
    """A model whose calls take more than this share of a replica's time, for ``moves_after``, moves out of the pool."""
    moves_after: Span = _d("10s")
    """For so long a model must be slow or busy. A model that is neither for half of that starts from the beginning."""
    load_timeout: Span = _d("30s")
    """For so long a model may be loading. After that it is refused until its load ends, and others take its turn."""


class AutoscalingConfig(Section):
    """How Serve adds and removes replicas of an endpoint; it has at least as many as its deployment says."""

    max_replicas: int = Field(ge=1)
    """Most replicas of one endpoint."""
    target_ongoing_requests: float = Field(16.0, gt=0)
    """Requests under way per replica that Serve aims at."""
    upscale_delay: Span = _d("30s")
    """How long there must be more before replicas are added."""
    downscale_delay: Span = _d("10m")
    """How long there must be fewer before replicas are removed."""


class ServingConfig(Section):
    """The HTTP port and what stands behind it."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address the port is bound to."""
    port: int = Field(8000, ge=1, le=65535)
    """The one HTTP port."""
    proxies: Literal["head", "nodes"] = "nodes"
    """Which nodes open the port: the head alone, or each that has a replica. Where ``host`` is loopback, the port and
    all replicas of endpoints are on the head."""
    grpc_port: int | None = Field(None, ge=1, le=65535)
    """Port of the Open Inference Protocol over gRPC, on the same address; null opens none."""
    require_keys: bool = False
    """Whether callers need an API key also on loopback; on any other address they always do."""
    replicas: int = Field(1, ge=1)
    """Replicas of an endpoint where the deployment names no number."""
    replica_cpus: float = Field(0.25, gt=0)
    """Logical CPUs that one replica holds."""
    body_limit_bytes: int = Field(16 << 20, ge=1024)
    """Largest request body; beyond it the answer is 413."""
    bodies_limit_bytes: int = Field(128 << 20, ge=1024)
    """Memory of all large bodies under way in a replica; beyond it the answer is 429."""
    aside_above_bytes: int = Field(64 << 10, ge=1024)
    """A larger body is decoded in a process beside the replica, one at a time, so that other requests go on."""
    limits: RequestLimits = RequestLimits()
    """What one request may hold."""
    deadline: Span = _d("10s")
    """Longest time, on the wall clock, a request may take; beyond it the answer is 504."""
    swap_timeout: Span = _d("60s")
    """Deadline, on the wall clock, for every replica to load and serve a new plan."""
    deploy_timeout: Span = _d("2m")
    """Deadline, on the wall clock, for an endpoint or a candidate to answer once it is asked for."""
    plan_poll_every: Span = _d("1s")
    """How often a replica asks for a newer plan, besides being told."""
    max_in_flight: int = Field(512, ge=1)
    """Requests under way at once in a replica; beyond them the answer is 429."""
    queue_rows: int = Field(50_000, ge=1)
    """Rows that may wait for a model in a replica; beyond them the answer is 429."""
    shadow_queue_rows: int = Field(1_000, ge=1)
    """Rows that wait for a shadow; beyond that they are dropped, and counted."""
    shadow_queue_bytes: int = Field(64 << 20, ge=1024)
    """Memory of the rows that wait for a shadow, estimated; beyond that they are dropped, and counted."""
    autoscaling: AutoscalingConfig | None = None
    """When replicas are added and removed; by default the number stays as deployed."""
    access_log: bool = False
    """Whether Serve logs every request; it costs a tenth of one, and events and metrics tell more."""
    batching: BatchingConfig = BatchingConfig()
    """How requests are predicted together."""
    breaker: BreakerConfig = BreakerConfig()
    """When a failing version is left alone, in a replica."""
    pool: PoolConfig = PoolConfig()
    """The process that pooled models share."""
    candidate: CandidateConfig = CandidateConfig()
    """Resources of a version on trial."""
    events: EventLogConfig = EventLogConfig()
    """The way of prediction events to the monitor."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.grpc_port == self.port:
            raise ValueError(f"grpc_port must not be port, got {self.port} for both")
        if self.bodies_limit_bytes < self.body_limit_bytes:
            given = f"got {self.bodies_limit_bytes} and {self.body_limit_bytes}"
            raise ValueError(f"bodies_limit_bytes must be at least body_limit_bytes, {given}")
        return self

    @property
    def local_url(self) -> str:
        """Address of the HTTP port for callers on the same machine."""
        address = local_address(self.host)
        return f"http://{f'[{address}]' if ':' in address else address}:{self.port}"

    @property
    def keys_required(self) -> bool:
        """Whether callers need an API key."""
        return self.keys_required_on(self.host)

    def keys_required_on(self, host: str) -> bool:
        """Whether callers of an address need an API key: where strangers may call, always."""
        return self.require_keys or not is_loopback(host)


def local_address(host: str) -> str:
    """The address by which callers on the same machine reach what is bound to ``host``; an IPv6 one has no brackets."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    return str(address)
