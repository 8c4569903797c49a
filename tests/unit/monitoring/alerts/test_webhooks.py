from __future__ import annotations

import hashlib
import hmac
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from raymlops.config.alerts import AlertsConfig, WebhookConfig
from raymlops.errors import ConfigError
from raymlops.monitoring.alerts.webhooks import Answer, after_answer, open_endpoint
from raymlops.records.people.alerts import Alert, Delivery

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
ALERT = Alert(
    key="churn/drift/1", model="churn", cause="drift", state="raised", severity="warning", at=NOW,
    summary="churn: moved", facts={"x": float("nan")},
)  # fmt: skip
CONFIG = AlertsConfig(backoff=timedelta(seconds=2), backoff_max=timedelta(seconds=60), max_attempts=5)


def after(answer: Answer, attempts: int = 0, seed: int = 0) -> Delivery:
    delivery = Delivery(alert=ALERT, endpoint="pager", attempts=attempts, due_at=NOW)
    return after_answer(delivery, answer, NOW, CONFIG, random.Random(seed))


@pytest.mark.parametrize("status", [200, 202, 204])
def test_success_is_delivered(status: int) -> None:
    found = after(Answer(status), attempts=2)
    assert (found.state, found.attempts, found.problem) == ("delivered", 3, "")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 422])
def test_what_will_not_change_is_given_up(status: int) -> None:
    found = after(Answer(status))
    assert (found.state, found.attempts, found.problem) == ("given_up", 1, f"answered {status}")


@pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(408), Answer(429), Answer(problem="no answer")])
def test_what_may_change_is_tried_again_up_to_a_limit(answer: Answer) -> None:
    assert after(answer, attempts=3).state == "pending"
    assert after(answer, attempts=4).state == "given_up"


def test_pauses_double_up_to_a_limit_with_full_jitter() -> None:
    draws = [[after(Answer(500), attempts, seed).due_at - NOW for seed in range(200)] for attempts in range(4)]
    for attempts, pauses in enumerate(draws):
        reach = timedelta(seconds=4 * 2**attempts)
        assert timedelta() <= min(pauses) < reach / 10
        assert reach * 0.9 < max(pauses) <= reach
    patient = CONFIG.model_copy(update={"max_attempts": 10**6})
    delivery = Delivery(alert=ALERT, endpoint="pager", attempts=9999, due_at=NOW)
    assert after_answer(delivery, Answer(500), NOW, patient, random.Random(0)).due_at <= NOW + CONFIG.backoff_max


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("Mon, 05 Jan 2026 12:02:00 GMT", 120),
        ("999999999999", 3600),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0),
        ("soon", 0),
        ("-5", 0),
        ("²", 0),
    ],
)
def test_retry_after_is_honoured_within_an_hour(header: str, seconds: int) -> None:
    pause = after(Answer(503, retry_after=header)).due_at - NOW
    assert timedelta(seconds=seconds) <= pause <= timedelta(seconds=max(seconds, 4))


def test_requests_carry_key_and_signature() -> None:
    webhook = WebhookConfig(name="pager", url="https://example.org/hook", secret_env="PAGER")
    endpoint = open_endpoint(webhook, {"PAGER": "sesame"})
    body, headers = endpoint.request(ALERT, NOW)
    assert json.loads(body) == {
        "key": "churn/drift/1", "model": "churn", "cause": "drift", "state": "raised", "severity": "warning",
        "at": "2026-01-05T12:00:00Z", "summary": "churn: moved", "facts": {"x": None},
    }  # fmt: skip
    assert headers["Idempotency-Key"] == "churn/drift/1"
    signed = headers["X-Raymlops-Timestamp"].encode() + b"." + body
    assert headers["X-Raymlops-Signature"] == "sha256=" + hmac.new(b"sesame", signed, hashlib.sha256).hexdigest()
    plain = open_endpoint(webhook.model_copy(update={"secret_env": ""}), {})
    assert "X-Raymlops-Signature" not in plain.request(ALERT, NOW)[1]


def test_any_name_fits_a_header() -> None:
    endpoint = open_endpoint(WebhookConfig(name="pager", url="https://example.org"), {})
    hostile = ALERT.model_copy(update={"key": "a\r\nX-Evil: 1/é \u2028/2026-01-05T12:00:00+00:00"})
    key = endpoint.request(hostile, NOW)[1]["Idempotency-Key"]
    assert key == "a%0D%0AX-Evil:%201/%C3%A9%20%E2%80%A8/2026-01-05T12:00:00+00:00"


def test_secrets_are_not_shown() -> None:
    webhook = WebhookConfig(name="pager", url="https://example.org/t0ken", secret_env="PAGER")
    endpoint = open_endpoint(webhook, {"PAGER": "sesame"})
    shown = repr(endpoint) + repr(webhook) + str(webhook)
    assert "t0ken" not in shown
    assert "sesame" not in shown


def test_a_url_from_the_environment_is_held_to_the_same_rule() -> None:
    webhook = WebhookConfig(name="pager", url_env="HOOK")
    assert open_endpoint(webhook, {"HOOK": "https://example.org/t0ken"}).url == "https://example.org/t0ken"
    with pytest.raises(ConfigError, match="needs the environment variable HOOK"):
        open_endpoint(webhook, {})
    with pytest.raises(ConfigError) as caught:
        open_endpoint(webhook, {"HOOK": "http://example.org/t0ken"})
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.org", "http://127.0.0.1:9", "http://localhost/x", "http://[::1]:9/"])
def test_addresses_that_are_safe(url: str) -> None:
    assert WebhookConfig(name="a", url=url).url == url


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://example.org/t0ken"},
        {"url": "ftp://example.org/t0ken"},
        {"url": "https://user:t0ken@example.org/"},
        {"url": "https:///t0ken"},
        {"url": "https://example.org/t0ken", "url_env": "X"},
        {},
    ],
)
def test_addresses_that_are_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookConfig(name="a", **wrong)
    assert "t0ken" not in str(caught.value)


def test_names_differ() -> None:
    one = WebhookConfig(name="a", url="https://example.org")
    with pytest.raises(ValidationError, match="different names"):
        AlertsConfig(webhooks=(one, one))
