from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.config.serving import ServingConfig
from raymlops.errors import Forbidden, Unauthenticated
from raymlops.records.serving.keys import ApiKey, Scope, new_key, parse_grant, split_key
from raymlops.serving.protocol.access import DESCRIBE, OPEN, Access

AT = datetime(2024, 1, 1, tzinfo=UTC)


def made(*scopes: Scope) -> tuple[ApiKey, dict[str, str]]:
    key, text = new_key("caller", scopes, AT)
    return key, {"authorization": f"Bearer {text}"}


def test_a_key_opens_what_its_scopes_cover() -> None:
    infer, label, admin = made("infer"), made("label"), made("admin")
    access = Access([infer[0], label[0], admin[0]])
    access.check(infer[1], "infer")
    access.check(label[1], "label")
    for scope in ("infer", "label", "admin"):
        access.check(admin[1], scope)  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="'label' over"):
        access.check(infer[1], "label")
    with pytest.raises(Forbidden):
        access.check(label[1], "infer")


def test_what_is_no_valid_key_is_refused_in_the_same_words() -> None:
    key, headers = made("admin")
    other, _ = made("admin")
    text = headers["authorization"].removeprefix("Bearer ")
    revoked, revoked_headers = made("admin")
    access = Access([key, other, revoked.model_copy(update={"revoked_at": AT})])
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {text}"},
        {"authorization": text},
        {"authorization": f"Bearer {text}x"},
        {"authorization": f"Bearer {text[:-1]}"},
        {"authorization": f"Bearer {text.replace(key.id, other.id)}"},
        {"authorization": f"Bearer {text.replace(key.id, 'f' * 12)}"},
        {"authorization": f"Bearer {text.replace('rml', 'xyz')}"},
        {"authorization": "Bearer rml__"},
        {"authorization": f"Bearer rml_{key.id}_\ud800"},
        revoked_headers,
    ]
    said = set()
    for headers_sent in wrong:
        with pytest.raises(Unauthenticated) as caught:
            access.check(headers_sent, "infer")
        said.add(str(caught.value))
    assert len(said) == 1
    access.check({"authorization": f"bearer {text}"}, "infer")


def test_where_no_key_is_required_nobody_is_asked() -> None:
    OPEN.check({}, "admin")
    with pytest.raises(Unauthenticated):
        Access().check({}, "infer")


def test_a_key_is_kept_without_its_secret() -> None:
    key, text = new_key("caller", ["infer", "infer"], AT)
    assert re.fullmatch(r"rml_[0-9a-f]{12}_[\w-]{43}", text)
    assert key.scopes == ("infer",)
    assert text.rpartition(key.id)[2].strip("_") not in key.model_dump_json()
    assert split_key(text) == (key.id, key.digest)
    assert new_key("caller", ["infer"], AT)[1] != text


@pytest.mark.parametrize(
    ("host", "required"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("[::1]", False), ("127.8.8.8", False),
     ("0.0.0.0", True), ("::", True), ("10.0.0.1", True), ("example.org", True)],
)  # fmt: skip
def test_keys_are_required_everywhere_but_on_loopback(host: str, required: bool) -> None:
    assert ServingConfig(host=host).keys_required is required
    assert ServingConfig(host=host, require_keys=True).keys_required


def test_an_expired_key_opens_nothing_at_once() -> None:
    clock = ManualClock(AT)
    key, text = new_key("caller", ["infer"], AT, expires_at=AT + timedelta(days=30))
    access = Access([key], clock=clock)
    headers = {"authorization": f"Bearer {text}"}
    clock.advance_to(AT + timedelta(days=30) - timedelta(seconds=1))
    assert access.check(headers, "infer") == key
    assert access.find(key.id) == key
    clock.advance_to(AT + timedelta(days=30))
    with pytest.raises(Unauthenticated):
        access.check(headers, "infer")
    assert access.find(key.id) is None
    assert not access.shown(headers, ("infer",))("churn")


def test_a_list_shows_what_the_key_may_read() -> None:
    key, text = new_key("caller", [], AT, grants=[parse_grant("infer:churn"), parse_grant("label:fraud")])
    headers = {"authorization": f"Bearer {text}"}
    access = Access([key])
    shown = access.check_any(headers, DESCRIBE)
    assert [model for model in ("churn", "fraud", "delay") if shown(model)] == ["churn"]
    with pytest.raises(Forbidden):
        access.check_any(headers, ("operate",))
    with pytest.raises(Unauthenticated):
        access.check_any({}, DESCRIBE)
    assert OPEN.check_any({}, DESCRIBE)("churn")
    assert not access.shown({}, DESCRIBE)("churn")


@pytest.mark.asyncio
async def test_an_endpoint_asks_for_the_scope_of_what_is_called(make_service: Any, helpers: Any) -> None:
    service = make_service(access=Access())
    assert service.serve()
    (infer, infer_key), (label, label_key) = made("infer"), made("label")
    body = helpers.matrix_body()
    refused = await service.post("/infer", body)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    service.endpoint.admit(Access([infer, label]))
    assert (await service.post("/infer", body, **infer_key)).status == 200
    assert (await service.post("/versions/1/infer", body, **infer_key)).status == 200
    assert (await service.post("/infer", body, **label_key)).status == 403
    assert (await service.post("/labels", {}, **infer_key)).status == 403
    assert (await service.post("/labels", {}, **label_key)).status == 400
    for action in ("", "/plan", "/ready"):
        assert (await service.get(action)).status == 401
    service.endpoint.admit(Access([label]))
    assert (await service.post("/infer", body, **infer_key)).status == 401
