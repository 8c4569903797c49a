"""One alert as one HTTP request, and the meaning of its answer. Pure."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from raymlops.config.alerts import AlertsConfig, WebhookConfig
from raymlops.config.section import check_url
from raymlops.errors import ConfigError
from raymlops.records.people.alerts import Alert, Delivery
from raymlops.records.record import canonical_json

__all__ = ["Answer", "Endpoint", "after_answer", "open_endpoint", "signature"]

_RETRY_AFTER_MAX = timedelta(hours=1)
_TRIED_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Endpoint:
    """A receiver of alerts, with its secret, which only the notifier's process knows."""

    name: str
    url: str = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)

    def request(self, alert: Alert, at: datetime) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the request that tells of ``alert``; the body is the same at every attempt."""
        body = canonical_json(alert)
        headers = {"Content-Type": "application/json", "Idempotency-Key": _header(alert.key), "User-Agent": "raymlops"}
        if self.secret is not None:
            timestamp = str(int(at.timestamp()))
            headers["X-Raymlops-Timestamp"] = timestamp
            headers["X-Raymlops-Signature"] = signature(self.secret, timestamp, body)
        return body, headers


@dataclass(frozen=True)
class Answer:
    """How one request ended.

    Attributes:
        status: HTTP status; ``None`` where there was no answer.
        problem: The error, without the address.
        retry_after: The header of this name, as sent.
    """

    status: int | None = None
    problem: str = ""
    retry_after: str = ""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the hex HMAC-SHA256 of ``TIMESTAMP.BODY``: what a receiver computes and compares."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def open_endpoint(config: WebhookConfig, environment: Mapping[str, str]) -> Endpoint:
    """A webhook with its secrets.

    Raises:
        ConfigError: A variable is not set, or holds no address that alerts may be sent to.
    """

    def read(variable: str) -> str:
        if not environment.get(variable):
            raise ConfigError(f"webhook {config.name!r} needs the environment variable {variable}", variable=variable)
        return environment[variable]

    url = config.url or read(config.url_env)
    try:
        check_url(url)
    except ValueError as error:
        raise ConfigError(f"webhook {config.name!r}: {error}") from error
    return Endpoint(config.name, url, read(config.secret_env).encode() if config.secret_env else None)


def after_answer(
    delivery: Delivery, answer: Answer, now: datetime, config: AlertsConfig, draw: random.Random
) -> Delivery:
    """How a delivery stands after a request.

    2xx is a success. No answer, 5xx, 408, 425 and 429 are tried again, after an exponential pause with full jitter, or
    what ``Retry-After`` asks for where that is longer; any other answer will not change and is given up at once.
    """
    attempts = delivery.attempts + 1
    if answer.status is not None and 200 <= answer.status < 300:
        return delivery.model_copy(
            update={"state": "delivered", "attempts": attempts, "due_at": now, "problem": ""},
        )
    problem = answer.problem or f"answered {answer.status}"
    hopeless = answer.status is not None and answer.status < 500 and answer.status not in _TRIED_AGAIN
    if hopeless or attempts >= config.max_attempts:
        return delivery.model_copy(
            update={"state": "given_up", "attempts": attempts, "due_at": now, "problem": problem},
        )
    # shifted, not raised to a power: a pause of many attempts must not overflow
    reach = min(config.backoff_max, config.backoff * (1 << min(attempts, 30)))
    due_at = now + max(reach * draw.random(), min(_asked_for(answer.retry_after, now), _RETRY_AFTER_MAX))
    return delivery.model_copy(update={"attempts": attempts, "due_at": due_at, "problem": problem})


def _header(key: str) -> str:
    """A key as a header may hold it: a model's name may be any text."""
    return quote(key, safe="/:+", errors="replace")


def _asked_for(retry_after: str, now: datetime) -> timedelta:
    """The pause that a ``Retry-After`` header asks for, in seconds or as a date; none where it says neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), 10**6))
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return timedelta()
    return max(timedelta(), (until if until.tzinfo else until.replace(tzinfo=UTC)) - now)
