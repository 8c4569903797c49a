"""Sessions end by themselves, are bounded, and are kept by what no reader of memory can use."""

from __future__ import annotations

import pytest

from raymlops.console.acting.sessions import LoginLimit, Sessions
from raymlops.errors import Overloaded, Unauthenticated
from raymlops.records.serving.keys import ApiKey, new_key, parse_grant
from raymlops.serving.protocol.access import Access
from tests.support.console_world import NOW


class Time:
    """Monotonic seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def key() -> ApiKey:
    return new_key("ann", [], NOW, grants=[parse_grant("operate:churn")])[0]


def cookie_of(set_cookie: str) -> dict[str, str]:
    return {"cookie": f'other={{"a": 1}}; {set_cookie.partition(";")[0]}; more'}


def test_a_session_ends_after_an_hour_of_rest_and_after_half_a_day(key: ApiKey) -> None:
    time, access = Time(), Access([key])
    sessions = Sessions(8000, time)
    headers = cookie_of(sessions.begin(key, {}))
    for _ in range(12):
        time.now_s += 3500
        assert sessions.viewer(headers, access).key == key
    time.now_s += 3500
    assert sessions.viewer(headers, access).key is None, "half a day is over"
    headers = cookie_of(sessions.begin(key, {}))
    time.now_s += 3601
    assert sessions.viewer(headers, access).session is None
    time.now_s -= 3601
    assert sessions.viewer(headers, access).session is None, "what has ended stays so"


def test_a_session_is_found_by_its_cookie_alone(key: ApiKey) -> None:
    sessions, access = Sessions(8000, Time()), Access([key])
    first, second = (sessions.begin(key, {}) for _ in range(2))
    assert first != second
    tokens = {sessions.viewer(cookie_of(one), access).session.token for one in (first, second)}  # type: ignore[union-attr]
    assert len(tokens) == 2
    value = first.partition("=")[2].partition(";")[0]
    assert value not in str(sessions.__dict__)
    for wrong in (
        {},
        {"cookie": ""},
        {"cookie": "raymlops-8000="},
        {"cookie": f"raymlops-8001={value}"},
        {"cookie": "\udcff=;;="},
    ):
        assert sessions.viewer(wrong, access).session is None
    sessions.end(cookie_of(first))
    assert sessions.viewer(cookie_of(first), access).session is None
    assert sessions.viewer(cookie_of(second), access).session is not None
    assert sessions.viewer(cookie_of(second), Access([])).key == key, "made after the last poll"
    revoked = key.model_copy(update={"revoked_at": NOW})
    assert sessions.viewer(cookie_of(second), Access([revoked])).session is None


def test_the_oldest_sessions_make_room(key: ApiKey) -> None:
    others = [new_key("bob", ["read"], NOW)[0] for _ in range(60)]
    sessions, access = Sessions(8000, Time()), Access([key, *others])
    first = sessions.begin(key, {})
    kept = sessions.begin(key, {})
    for number in range(999):
        sessions.begin(others[number % 60], {})
        if number % 100 == 0:
            assert sessions.viewer(cookie_of(kept), access).session is not None, "who is seen is not the oldest"
    assert sessions.viewer(cookie_of(first), access).session is None


def test_one_key_ends_only_its_own_sessions(key: ApiKey) -> None:
    other = new_key("eve", ["infer"], NOW)[0]
    sessions, access = Sessions(8000, Time()), Access([key, other])
    kept = sessions.begin(key, {})
    begun = [sessions.begin(other, {}) for _ in range(1001)]
    assert sessions.viewer(cookie_of(kept), access).session is not None
    live = [sessions.viewer(cookie_of(one), access).session is not None for one in begun]
    assert live == [False] * 981 + [True] * 20


def test_a_header_counts_where_keys_are_required(key: ApiKey) -> None:
    sessions = Sessions(8000, Time())
    made, text = new_key("bob", ["read"], NOW)
    headers = {"authorization": f"Bearer {text}"}
    assert sessions.viewer(headers, Access([made])).key == made
    assert sessions.viewer(headers, Access([made])).session is None, "and gives no right to act"
    with pytest.raises(Unauthenticated):
        sessions.viewer(headers, Access([key]))
    assert sessions.viewer(headers, Access([key], required=False)).key is None


def test_wrong_keys_have_to_wait_for_a_minute() -> None:
    time = Time()
    limit = LoginLimit(time)
    for _ in range(10):
        limit.require_room("a")
        limit.failed("a")
    with pytest.raises(Overloaded):
        limit.require_room("a")
    limit.require_room("b")
    time.now_s += 61
    limit.require_room("a")
