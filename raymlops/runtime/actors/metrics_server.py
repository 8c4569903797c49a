"""``GET /metrics`` of the platform: its server, and the parts that the monitor holds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client.core import Metric

from raymlops.clock import Clock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import ConfigError, RaymlopsError
from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.report.exposition import CONTENT_TYPE, ModelHistory, add_sample, exposition, metric_of, page_of
from raymlops.records.plans import PlanStore
from raymlops.records.windows import WindowStore
from raymlops.serving.answering.aliases import AliasKind, aliased
from raymlops.serving.answering.metrics import Family

__all__ = ["MetricsPage", "MetricsServer", "ReplicaFigures", "WindowSource", "page_of_families"]

_log = logging.getLogger(__name__)
_TIMEOUT_S = 10.0


class WindowSource(Protocol):
    """The stores that metrics are made of."""

    plans: PlanStore
    windows: WindowStore


class MetricsPage:
    """The page as it stands; reads at each scrape what closed or changed since the last one. Thread-safe.

    Args:
        metadata: Models and their windows.
        clock: Gives the age of the newest window.
        config: How long labels may come late, and how many columns are exposed.
        rule_of: Model -> when its drift is an alarm.
    """

    def __init__(
        self,
        metadata: WindowSource,
        clock: Clock,
        config: MonitoringConfig,
        rule_of: Callable[[str], AlarmRule],
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._columns = config.metrics.columns
        self._lookback: timedelta = config.late_labels + config.label_delay + config.window
        self._rule_of = rule_of
        self._lock = threading.Lock()
        self._histories: dict[str, ModelHistory] = {}

    def render(self) -> str:
        """The page.

        Raises:
            StorageError: The windows cannot be read.
            UnavailableError: Likewise.
        """
        with self._lock:
            for model in self._metadata.plans.plan_numbers():
                try:
                    self._catch_up(model)
                except RaymlopsError:
                    raise
                except Exception:  # an error in one model's windows must not hide the others
                    _log.exception("windows of %s could not be read for the metrics page", model)
            return exposition(self._histories, self._clock.now(), self._columns)

    def _catch_up(self, model: str) -> None:
        history, now = self._histories.setdefault(model, ModelHistory()), self._clock.now()
        if history.newest is not None and history.newest.end > now:  # the clock was set back
            history = self._histories[model] = ModelHistory()
        start = None if history.newest is None else history.newest.start - self._lookback
        rule = self._rule_of(model)
        for window in self._metadata.windows.list_windows(model, start):
            if window.end <= now:
                history.add(window, rule)


class ReplicaFigures:
    """The newest figures of every replica that still sends some. Thread-safe.

    Args:
        prefix: Begins the names of the families.
        keep_s: A replica that was silent for longer is gone.
        aliases: Other systems under whose names the figures are shown a second time.
    """

    def __init__(
        self,
        prefix: str = "raymlops_model",
        keep_s: float = 30.0,
        aliases: Sequence[AliasKind] = (),
    ) -> None:
        self._prefix = prefix
        self._keep_s = keep_s
        self._aliases = aliases
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, str], tuple[float, Sequence[Family]]] = {}

    def put(self, model: str, replica: str, families: Sequence[Family], at_s: float | None = None) -> None:
        """Keep what a replica counted since its start; ``at_s`` is ``time.monotonic`` by default."""
        with self._lock:
            self._newest[model, replica] = (time.monotonic() if at_s is None else at_s, families)

    def render(self, at_s: float | None = None) -> str:
        """The part of the page that is about replicas."""
        now = time.monotonic() if at_s is None else at_s
        with self._lock:
            self._newest = {key: kept for key, kept in self._newest.items() if now - kept[0] <= self._keep_s}
            newest = sorted(self._newest.items())
        own = [
            ({"model": model, "replica": replica}, family)
            for (model, replica), (_, families) in newest
            for family in families
        ]
        theirs = [
            labelled
            for (model, replica), (_, families) in newest
            for labelled in aliased(self._aliases, model, replica, families)
        ]
        return page_of_families(self._prefix, own) + page_of_families("", theirs)


def page_of_families(prefix: str, families: Iterable[tuple[Mapping[str, str], Family]]) -> str:
    """Families in the text format; those of one name become one metric.

    Args:
        prefix: Begins the name of each metric.
        families: Each with the labels that its samples share.
    """
    metrics: dict[str, Metric] = {}
    for shared, (family, kind, text, samples) in families:
        name = f"{prefix}_{family}" if prefix else family
        metric = metrics.setdefault(name, metric_of(name, kind, text))
        for suffix, labels, value in samples:
            add_sample(metric, name + suffix, {**shared, **labels}, value)
    return page_of(list(metrics.values()))


class MetricsServer:
    """Serves one page on one port, in threads of its own.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        render: Makes the page at each request.

    Raises:
        ConfigError: The port cannot be had.
    """

    def __init__(self, host: str, port: int, render: Callable[[], str]) -> None:
        class Handler(_Handler):
            page = staticmethod(render)

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"metrics cannot be served on {host}:{port}: {error.strerror}", port=port) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    page: Callable[[], str]
    timeout = _TIMEOUT_S
    server_version = "raymlops"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._reply(404, "there is only /metrics\n", "text/plain; charset=utf-8")
            return
        try:
            self._reply(200, self.page(), CONTENT_TYPE)
        except OSError as error:  # the scraper has closed the connection
            _log.debug("metrics could not be sent: %s", error)
        except Exception:
            _log.exception("the metrics page could not be made")
            self._reply(500, "the page could not be made: see the monitor's log\n", "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)

    def _reply(self, status: int, text: str, content_type: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
