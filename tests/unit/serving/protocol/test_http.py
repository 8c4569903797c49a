from __future__ import annotations

import orjson
import pytest

from raymlops import errors
from raymlops.serving.protocol.http import HttpReply, error_reply, json_reply, raw_reply, reply_to, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.DataError(), 400),
        (errors.SchemaMismatch(), 400),
        (errors.NotFoundError(), 404),
        (errors.ModelVersionNotFound(), 404),
        (errors.StaleWrite(), 409),
        (errors.ModelLoadFailed(), 503),
        (errors.StorageError(), 503),
        (errors.UnavailableError(), 503),
        (TimeoutError(), 504),
        (errors.LedgerBroken(), 500),
        (ValueError(), 500),
    ],
)
def test_each_family_has_its_status(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_what_may_be_retried_says_so() -> None:
    assert reply_to(errors.UnavailableError("gone")).headers["retry-after"] == "1"
    assert "retry-after" not in reply_to(errors.DataError("bad")).headers


def test_replies() -> None:
    assert json_reply({"a": 1}) == HttpReply(200, {"content-type": "application/json"}, b'{"a":1}')
    assert raw_reply(b"x", "text/plain") == HttpReply(200, {"content-type": "text/plain"}, b"x")
    reply = error_reply(405, "no \ud800 " + "x" * 5000, allow="GET")
    assert reply.headers == {"content-type": "application/json", "allow": "GET"}
    assert orjson.loads(reply.body)["error"].startswith("no ? xxx")
    assert len(reply.body) < 1100
