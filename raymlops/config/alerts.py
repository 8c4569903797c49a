"""Who hears of alerts, and where metrics are scraped."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from raymlops.config.section import Section, Share, Span, check_url
from raymlops.config.section import parse_duration as _d
from raymlops.records.names import WEBHOOK_PATTERN

__all__ = ["AlertsConfig", "MetricsConfig", "WebhookConfig"]


class WebhookConfig(Section):
    """One endpoint that alerts are sent to, as JSON by POST."""

    # an endpoint's address is often all that it takes to post to it
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=WEBHOOK_PATTERN)
    """Names the endpoint in the log, the command line and the outbox."""
    url: str = Field("", repr=False)
    """``https://...``, or ``http://`` of this machine."""
    url_env: str = ""
    """Environment variable of the control plane's node that holds the URL, where the URL is itself a secret."""
    secret_env: str = ""
    """Environment variable that holds the key of the signature; without it requests are not signed."""
    severities: tuple[Literal["info", "warning", "critical"], ...] = ("warning", "critical")
    """Only alerts of these severities are sent."""
    models: tuple[str, ...] = ()
    """Only alerts about these models are sent; empty, about all."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if bool(self.url) == bool(self.url_env):
            raise ValueError("must have either url or url_env")
        if self.url:
            check_url(self.url)
        return self


class AlertsConfig(Section):
    """How alerts are found and sent. Without webhooks there are none."""

    webhooks: tuple[WebhookConfig, ...] = ()
    """Who is told."""
    every: Span = _d("5s")
    """Pause, on the wall clock, between two looks at windows and ledger."""
    history: Literal["keep", "send"] = "keep"
    """What is done with alerts from before the first start: ``keep`` lists them without sending them."""
    timeout: Span = _d("10s")
    """Deadline of one request, connecting included."""
    max_attempts: int = Field(12, ge=1)
    """Requests per alert and endpoint before it is given up."""
    backoff: Span = _d("1s")
    """Mean pause before the second request; it doubles with each one after."""
    backoff_max: Span = _d("10m")
    """The pause grows no longer than this; an endpoint that asks for a longer one is given up to an hour."""
    min_fallback_share: Share = 0.01
    """Share of a window's rows answered by a fallback that raises an alert."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [webhook.name for webhook in self.webhooks]
        if len(set(names)) != len(names):
            raise ValueError("webhooks must have different names")
        return self


class MetricsConfig(Section):
    """What Prometheus may scrape of the platform."""

    port: int | None = Field(None, ge=1, le=65535)
    """Port of ``GET /metrics`` on the control plane's node; off without one."""
    host: str = Field("127.0.0.1", min_length=1)
    """Address it is bound to. Whoever can reach it can read it: no key is asked for."""
    columns: int = Field(20, ge=0, le=1000)
    """Columns per model, the most important ones, whose drift is exposed one by one."""
    timeout: Span = _d("5s")
    """Deadline of one scrape: an actor that has not answered by then is left out, see ``raymlops_scrape_up``."""
    aliases: tuple[Literal["kserve", "mlserver"], ...] = ()
    """Systems under whose names the figures of serving are shown a second time, for dashboards that exist."""
