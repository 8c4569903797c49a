from __future__ import annotations

from typing import get_args
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import AlreadyRegistered, ConfigError
from raymlops.records.names import NameKind, check_case, check_digest, check_label, check_name, check_path

FILES: tuple[NameKind, ...] = ("model", "project", "run", "training set", "alias")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "name", ["flight-delay", "churn", "m", "v2", "2013_flights", "a.b", "m_", "toy-run-1", "x" * 100]
)
def test_names_that_are_in_use_are_allowed(kind: NameKind, name: str) -> None:
    check_name(kind, name)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "a%2fb",
        "../../x",
        "/x",
        "modèle",
        "\uff41",
        "a b",
        "a\n",
        "-a",
        ".a",
        "a.",
        "a\x00",
        "a\\b",
    ],
)
def test_what_is_no_file_name_and_no_part_of_a_url_is_refused(kind: NameKind, name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{kind} name must be made of letters a to z, .*, got ") as caught:
        check_name(kind, name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_name_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"^model name must have at most 100 characters, got 300$"):
        check_name("model", "x" * 300)
    with pytest.raises(ConfigError, match="must be made of"):
        check_name("model", None)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "index"),
        ("model", "Gateway"),
        ("model", "candidate-churn-2"),
        ("project", "batch-score"),
        ("run", "streamed"),
        ("model", "a.draft-0"),
        ("run", "x.trash-1"),
    ],
)
def test_the_platforms_own_names_are_not_given_away(kind: NameKind, name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{kind} name must not be one of the platform's own: .*, got '{name}'$"):
        check_name(kind, name)


@pytest.mark.parametrize("wrong", ["a__b", "_a", "a_", "a-b", "1a", "a b", "", "a/b", "é", None])
def test_a_name_of_a_definition_keeps_columns_unambiguous(wrong: object) -> None:
    with pytest.raises(ConfigError, match="view name must be made of"):
        check_name("view", wrong)


@pytest.mark.parametrize("wrong", ["", "Prod", "a b", "../dev", "dev\n", "1dev"])
def test_an_environment_is_lower_case(wrong: str) -> None:
    check_name("environment", "dev-2_eu")
    with pytest.raises(ConfigError, match="environment name must be made of lower-case"):
        check_name("environment", wrong)


def test_names_differ_by_more_than_case() -> None:
    check_case("model", "churn", ["churn", "Other"])
    check_case("model", "churn2", ["churn"])
    with pytest.raises(AlreadyRegistered, match=r"^model name must differ from 'churn' by more than .*, got 'Churn'$"):
        check_case("model", "Churn", ["churn"])


@pytest.mark.parametrize("wrong", ["", " ", " a", "a\n", "a\x1b[31m", "a\u202eb", "x" * 101, None])
def test_a_label_is_one_line_for_people(wrong: object) -> None:
    check_label("name of a key", "Ada's laptop, büro")
    with pytest.raises(ConfigError, match="name of a key must"):
        check_label("name of a key", wrong)


@pytest.mark.parametrize("wrong", ["", "../x", "/x", "a//b", "a/./b", "a/..", "a\x00", None])
def test_a_path_stays_below(wrong: object) -> None:
    check_path("table", "predictions/churn.g1@2")
    with pytest.raises(ConfigError, match="table must be parts of"):
        check_path("table", wrong)


def test_a_digest_is_hexadecimal() -> None:
    check_digest("bundle", "0f" * 32)
    for wrong in ("0F" * 32, "../x", "0" * 63, None):
        with pytest.raises(ConfigError, match="bundle must be 64 hexadecimal digits"):
            check_digest("bundle", wrong)


@given(st.sampled_from(get_args(NameKind)), st.text() | st.text("abZ09._-"))
def test_whatever_is_accepted_is_the_same_text_everywhere(kind: NameKind, name: str) -> None:
    try:
        check_name(kind, name)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is allowed
        return
    assert quote(name, safe="") == name
    assert name not in {".", ".."}
    assert name == name.strip()
    assert name.isascii()
