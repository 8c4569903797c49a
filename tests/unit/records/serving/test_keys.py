"""What a key may do: its grants, and the scopes of keys from before there were grants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import ConfigError
from raymlops.records.serving.keys import ApiKey, Grant, Scope, new_key, parse_grant

AT = datetime(2024, 1, 1, tzinfo=UTC)
SCOPES: tuple[Scope, ...] = get_args(Scope)
TARGETS = ("*", "churn", "fraud", "env/*", "env/staging", "env/prod")

OVER = {
    "*": {"*", "churn", "fraud"},
    "churn": {"churn"},
    "fraud": {"fraud"},
    "env/*": {"env/*", "env/staging", "env/prod"},
    "env/staging": {"env/staging"},
    "env/prod": {"env/prod"},
}
"""Target of a grant -> the targets that it is over."""


@pytest.mark.parametrize("held", SCOPES)
@pytest.mark.parametrize("over", TARGETS)
def test_a_grant_covers_its_scope_over_its_target(held: Scope, over: str) -> None:
    covered = {
        (scope, target)
        for scope in SCOPES
        for target in TARGETS
        if Grant(scope=held, target=over).covers(scope, target)
    }
    scopes = {"admin": set(SCOPES), "operate": {"operate", "read"}}.get(held, {held})
    targets = set(TARGETS) if (held, over) == ("admin", "*") else OVER[over]
    assert covered == {(scope, target) for scope in scopes for target in targets}


@given(
    st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from(TARGETS)), min_size=1, max_size=4),
    st.sampled_from(SCOPES),
    st.sampled_from(TARGETS),
)
def test_a_key_allows_what_one_of_its_grants_covers(held: list[tuple[Scope, str]], scope: Scope, target: str) -> None:
    grants = [Grant(scope=one, target=over) for one, over in held]
    key, _ = new_key("ann", [], AT, grants=grants)
    assert key.allows(scope, target) == any(grant.covers(scope, target) for grant in grants)
    assert key.allows("admin", target) <= key.allows(scope, target)
    assert ApiKey.model_validate_json(key.model_dump_json()) == key


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "read"])
def test_a_key_from_before_there_were_grants_keeps_what_it_could(scope: Scope) -> None:
    body = {
        "id": "0123456789ab",
        "name": "ann",
        "scopes": [scope],
        "digest": "0" * 64,
        "created_at": "2024-01-01T00:00:00Z",
        "revoked_at": None,
    }
    key = ApiKey.model_validate(body)
    assert key.grants == (Grant(scope=scope, target="*"),)
    assert key.scopes == (scope,)
    assert key.allows(scope, "any-model-at-all")
    assert key.is_valid(datetime(2100, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "text", ["infer:*", "operate:churn", "operate:env/staging", "read:env/*", "admin:*", "label:a.b-c_d"]
)
def test_a_grant_is_read_as_it_is_written(text: str) -> None:
    assert str(parse_grant(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "scope must be one of"),
        ("root:*", "scope must be one of"),
        ("opperate:churn", "did you mean 'operate'"),
        ("infer", "grant must be SCOPE:TARGET"),
        ("infer:", "model name"),
        ("infer:a/b", "model name"),
        ("infer:../x", "model name"),
        ("infer:ch*", "model name"),
        ("operate:env/", "environment name"),
        ("operate:env/Prod", "environment name"),
        ("operate:env/a/b", "environment name"),
        ("infer:env/prod", "must be of read, operate or admin"),
        ("infer:<script>", "model name"),
    ],
)
def test_what_is_no_grant_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_grant(text)


@pytest.mark.parametrize(
    "wrong", [{"grants": []}, {"scopes": []}, {"scopes": ["root"]}, {"grants": [{"scope": "root"}]}]
)
def test_a_key_must_be_for_something(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="grants"):
        ApiKey.model_validate({"id": "0" * 12, "name": "n", "digest": "0" * 64, "created_at": AT, **wrong})


def test_a_key_is_valid_until_it_is_revoked_or_expires() -> None:
    key, _ = new_key("ann", ["infer"], AT, expires_at=AT + timedelta(hours=1))
    assert key.is_valid(AT)
    assert not key.is_valid(AT + timedelta(hours=1))
    assert not key.model_copy(update={"revoked_at": AT}).is_valid(AT)
