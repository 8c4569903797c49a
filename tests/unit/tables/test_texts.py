"""Texts as values: nothing is altered, and nothing that is not the declared type is taken for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.tables.columns import INSTANT
from raymlops.tables.texts import guessed_types, read_texts


def read(text: str | None, target: Any, **options: Any) -> Any:
    """The value; ``...`` where the text is none of the type."""
    values, broken = read_texts(pa.chunked_array([[text]], pa.string()), target, **options)
    return ... if broken is not None and broken[0] else values[0].as_py()


REFUSED = ["0x10", "1_000", " 5", "5 ", "", "NA", "null", "yes", "\uff11"]


@pytest.mark.parametrize(
    ("texts", "target", "expected"),
    [
        ([*REFUSED, "1e5", "1.5", "nan", "9223372036854775808", "--1", "."], pa.int64(), ...),
        (["5", "+5", "05", "5.0", "5."], pa.int64(), 5),
        (["-0", "00"], pa.int64(), 0),
        (["9223372036854775807"], pa.int64(), 2**63 - 1),
        (["-9223372036854775808"], pa.int64(), -(2**63)),
        (["256", "-1"], pa.uint8(), ...),
        (["18446744073709551615"], pa.uint64(), 2**64 - 1),
        (REFUSED, pa.float64(), ...),
        (["9007199254740993", "9007199254740993.0", "1" * 400], pa.float64(), ...),
        (["0.30000000000000004"], pa.float64(), 0.30000000000000004),
        (["9007199254740992"], pa.float64(), 2.0**53),
        (["1e5", "100000", "+1e5"], pa.float64(), 1e5),
        (["16777217"], pa.float32(), ...),
        ([*REFUSED, "t", "2"], pa.bool_(), ...),
        (["true", "True", "TRUE", "1"], pa.bool_(), True),
        (["2024-03-01T12:00:00", "2024-03-01", "1709294400", "2024-03-01T12:00:00.1234567Z"], INSTANT, ...),
        (["2024-03-01T12:00:00Z", "2024-03-01 13:00:00+01:00"], INSTANT, datetime(2024, 3, 1, 12, tzinfo=UTC)),
        ([None], pa.int64(), None),
    ],
)
def test_a_text_is_of_its_declared_type_or_refused(texts: list[str | None], target: Any, expected: Any) -> None:
    assert [read(text, target) for text in texts] == [expected] * len(texts)


@pytest.mark.parametrize("text", ["02116", "+5", "-0", "1.0", "0x10", " 1", "1e5", "9223372036854775808"])
def test_an_integer_key_is_written_as_it_prints(text: str) -> None:
    assert read(text, pa.int64(), key=True) is ...


@given(st.text(max_size=8) | st.integers(-(2**70), 2**70).map(str) | st.from_regex(r"[+-]?0*[0-9]{1,3}\.?0?"))
def test_two_texts_are_never_one_key(text: str) -> None:
    value = read(text, pa.int64(), key=True)
    assert value is ... or str(value) == text
    (guessed,) = guessed_types([pa.table({"k": pa.array([text])})], str.isidentifier).values()
    printed = str(read(text, guessed))
    assert text in {
        printed,
        printed.lower(),
        printed.removesuffix(".0"),
        repr(float(text)) if guessed == pa.float64() else "",
    }


def test_instants_without_a_zone_get_the_declared_one() -> None:
    noon = datetime(2024, 3, 1, 12, tzinfo=UTC)
    for text in ("2024-03-01T13:00:00", "2024-03-01 13:00", "2024-03-01T12:00:00Z", "2024-03-01T07:00:00-05"):
        assert read(text, INSTANT, time_zone="Europe/Berlin") == noon, text
    assert read("2024-03-01", INSTANT, time_zone="UTC") == noon.replace(hour=0)
    for text in ("2024-03-31T02:30:00", "2024-10-27T02:30:00", "noon"):  # never, twice, no instant
        assert read(text, INSTANT, time_zone="Europe/Berlin") is ..., text


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([["1", "2"], ["3"]], pa.int64()),
        ([["1", "2"], ["03"]], pa.string()),
        ([["1"], ["x"]], pa.string()),
        ([[None], ["1"]], pa.int64()),
        ([[None], []], pa.string()),
        ([["1.0", "0.5"]], pa.float64()),
        ([["1", "0.5"]], pa.float64()),
        ([["1", "1.0"]], pa.string()),
        ([["1.50"]], pa.string()),
        ([["nan"], ["inf"]], pa.string()),
        ([["9007199254740993.0"]], pa.string()),
        ([["9223372036854775808"]], pa.string()),
        ([["true"], ["false"]], pa.bool_()),
        ([["True", "false"]], pa.string()),
    ],
)
def test_a_guess_is_made_over_all_tables_and_alters_nothing(tables: list[list[str | None]], expected: Any) -> None:
    given_tables = [pa.table({"a": pa.array(values, pa.string()), "n": [0] * len(values)}) for values in tables]
    assert guessed_types(given_tables, lambda name: True) == {"a": expected}
    assert guessed_types(given_tables, lambda name: False) == {}
    only = guessed_types(given_tables, lambda name: True, integers_only=True)["a"]
    assert only == (expected if expected == pa.int64() else pa.string())
