"""What is inferred of a table, what is left out and why, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError, RaymlopsError
from raymlops.projects import Asked
from raymlops.projects.inference import infer, likely_entities, time_columns
from raymlops.projects.suspects import told_share
from tests.unit.projects.examples import houses, orders, tickets

ORDERS = Asked("returned", "ordered_at", ("customer_id",), label_delay="3d")


def answers(table: pa.Table, asked: Asked) -> dict[str, Any]:
    return infer(table, asked, name="toy", table="toy.parquet").answers


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.append_column(name, pa.array(values))


def test_two_classes_with_an_entity() -> None:
    found = answers(orders(), ORDERS)
    assert (found["task"], found["metric"], found["classes"]) == ("classifier", "log_loss", ["no", "yes"])
    assert [(column["name"], column["dtype"]) for column in found["inputs"]] == [
        ("amount", "float64"),
        ("items", "int64"),
        ("Sales Channel", "string"),
        ("joined_at", "timestamp"),
        ("express", "bool"),
    ]
    reasons = {column["name"]: (column["suspect"], column["reason"]) for column in found["left_out"]}
    assert reasons["order_id"] == (False, "it is an identifier or free text: each value is there once")
    assert reasons["shipped_at"] == (True, "it holds times after the row's own: it may tell what happened")
    assert reasons["refund_code"][0]
    assert "% of the label alone" in reasons["refund_code"][1]
    (entity,) = found["aggregates"]
    assert [each["name"] for each in entity["recent_aggregates"]][:3] == ["rows_7d", "rows_30d", "amount_mean_7d"]
    assert [each["name"] for each in entity["outcome_aggregates"]] == ["label_mean_7d", "label_mean_30d"]


def test_numbers_with_one_row_per_thing() -> None:
    found = answers(houses(), Asked("price", "sold"))
    assert (found["task"], found["metric"], found["classes"]) == ("regressor", "rmse", [])
    assert [column["name"] for column in found["inputs"]] == ["area", 'Lage "gut"', "noise"]
    assert found["aggregates"] == []
    assert {column["name"]: column["reason"] for column in found["left_out"]} == {
        "id": "it is an identifier: each value is there once"
    }


def test_several_classes_with_texts() -> None:
    found = answers(tickets(), Asked("kind", "created", ("team",)))
    assert found["classes"] == ["bug", "feature", "question", "spam"]
    assert found["entities"][0]["input"], "a team is a category, too"
    assert found["aggregates"][0]["outcome_aggregates"] == [], "a mean of class numbers says nothing"
    assert found["left_out"][0]["name"] == "title"


def test_ranges_leave_room_and_missing_values_are_allowed_where_there_are_some() -> None:
    table = with_column(houses(), "rooms", [None if n % 50 == 0 else 1 + n % 7 for n in range(1500)])
    columns = {column["name"]: column for column in answers(table, Asked("price", "sold"))["inputs"]}
    assert (columns["area"]["ge"], columns["area"]["le"], columns["area"]["nullable"]) == (0.0, 1000.0, False)
    assert (columns["noise"]["ge"], columns["noise"]["le"]) == (None, None)
    assert (columns["rooms"]["dtype"], columns["rooms"]["le"], columns["rooms"]["nullable"]) == ("int64", 100.0, True)


def test_a_suspected_column_can_be_kept_and_another_left_out() -> None:
    found = answers(orders(), replace(ORDERS, keep=("refund_code",), leave_out=("express",)))
    assert "refund_code" in [column["name"] for column in found["inputs"]]
    assert {"name": "express", "reason": "you left it out", "suspect": False} in found["left_out"]


def test_rare_classes_are_told() -> None:
    found = answers(
        with_column(houses(), "y", ["rare" if n < 7 else f"k{n % 2}" for n in range(1500)]), Asked("y", "sold")
    )
    assert "class 'rare' has 7 rows: a training whose rows hold none of them is refused" in found["notes"]


def test_what_is_of_no_use_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match="must be a suspected leak, got 'order_id', which is left out: it is an id"):
        answers(orders(), replace(ORDERS, keep=("order_id",)))


def test_rows_that_repeat_others_are_trained_on_as_they_are() -> None:
    table = pa.concat_tables([houses(500)] * 3)
    found = answers(table, Asked("price", "sold"))
    assert found["training"]["quality"]["max_duplicate_share"] == 1.0
    assert "67% of the rows repeat another one: training takes them as they are" in found["notes"]


def test_what_is_filled_in_only_where_the_label_is_known_is_a_suspect() -> None:
    table = orders()
    known = np.arange(table.num_rows) < 2500
    table = table.set_column(
        table.column_names.index("returned"), "returned", pa.array(table["returned"].to_pylist(), mask=~known)
    )
    table = with_column(table, "handled_by", [f"p{n % 5}" if known[n] else None for n in range(table.num_rows)])
    found = answers(table, ORDERS)
    (handled,) = (column for column in found["left_out"] if column["name"] == "handled_by")
    assert (handled["suspect"], found["labelled_rows"]) == (True, 2500)


def test_of_two_thousand_columns_those_are_inputs_that_tell_most() -> None:
    table = houses()
    noise = np.random.default_rng(0).normal(size=(2000, 1500))
    for number in range(2000):
        table = table.append_column(f"x{number}", pa.array(noise[number]))
    table = with_column(table, "street", table["price"].to_numpy() + 1e5 * noise[0])
    found = answers(table, Asked("price", "sold", most_inputs=20))
    assert len(found["inputs"]) == 20
    assert {"area", "street"} <= {column["name"] for column in found["inputs"]}
    assert "2,004 columns could be inputs; the 20 that tell most of the label are" in found["notes"]


def test_columns_that_the_platform_cannot_name_are_left_out_with_the_reason() -> None:
    table = houses()
    for name in ("_hidden", "AREA", "request_id", "label"):
        table = with_column(table, name, np.random.default_rng(3).normal(size=1500))
    left_out = {column["name"]: column["reason"] for column in answers(table, Asked("price", "sold"))["left_out"]}
    assert "rename it" in left_out["_hidden"]
    assert "'area' by the case of letters" in left_out["AREA"]
    assert left_out["request_id"] == left_out["label"] == "the platform has a column of this name; rename it to use it"


def test_numbers_among_which_are_texts_are_left_out_with_an_example() -> None:
    table = with_column(houses(), "income", ["ask me" if n % 90 == 0 else str(n * 1.5) for n in range(1500)])
    left_out = {column["name"]: column["reason"] for column in answers(table, Asked("price", "sold"))["left_out"]}
    assert left_out["income"] == "it holds texts, of which 99% are numbers, others are not, such as 'ask me'"


def test_numbers_of_another_country_are_left_out_with_what_helps() -> None:
    table = with_column(houses(), "income", [f"{n},5" for n in (*range(1499), 0)])
    left_out = {column["name"]: column["reason"] for column in answers(table, Asked("price", "sold"))["left_out"]}
    assert left_out["income"] == "it holds 1,499 texts such as '0,5': to use them as numbers, write them as in 0.5"


def test_labels_of_ones_zeros_trues_and_numbers() -> None:
    table = houses()
    for values, classes in (
        (np.arange(1500) % 2 == 0, ["0", "1"]),
        (np.arange(1500) % 3, ["0", "1", "2"]),
        ((np.arange(1500) % 2).astype(float), ["0", "1"]),
        ([f"{n % 11}" for n in range(1500)], [str(n) for n in range(11)]),
    ):
        found = answers(with_column(table, "y", values), Asked("y", "sold"))
        assert (found["task"], found["classes"]) == ("classifier", classes)


@pytest.mark.parametrize(
    ("change", "asked", "said"),
    [
        ({}, Asked("gone", "sold"), "label must be a column of the table, got 'gone'; it has 'id', 'sold'"),
        ({}, Asked("price", "solt"), "time must be a column of the table, got 'solt', did you mean 'sold'"),
        ({}, Asked("price", "sold", ("shop",)), "entity must be a column of the table, got 'shop'"),
        ({}, Asked("price", "sold", ("area",)), "entity 'area' must hold texts or whole numbers"),
        ({}, Asked("price", "price"), "must be different columns"),
        ({}, Asked("price", "sold", label_delay="a week"), "label delay must be whole numbers with a unit"),
        ({}, Asked("price", "sold", label_delay="100d"), "must span twice the time"),
        ({"price": [3.5] * 1500}, Asked("price", "sold"), "at least two values, got 3.5 in every row"),
        ({"price": ["yes"] * 1500}, Asked("price", "sold"), "at least two values, got 'yes' in every row"),
        ({"price": [None] * 1450 + [1, 2] * 25}, Asked("price", "sold"), "must have 100 rows"),
        ({"price": [f"t{n}" for n in range(1500)]}, Asked("price", "sold"), "at most 50 classes, got 1500"),
        ({"price": ["a\nb", "c"] * 750}, Asked("price", "sold"), "classes of printable text"),
        ({"sold": [None] * 1500}, Asked("price", "sold"), "time 'sold'|column 'sold'"),
        ({"sold": ["2024-01-01", "1.1.2024"] * 750}, Asked("price", "sold"), "in one form, got 2"),
        ({"area": [0.0] * 1500, "noise": [0.0] * 1500, 'Lage "gut"': ["a"] * 1500}, Asked("price", "sold"), ""),
    ],
)  # fmt: skip
def test_a_table_of_no_use_is_refused_in_one_line(change: dict[str, Any], asked: Asked, said: str) -> None:
    table = houses()
    for name, values in change.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    if not said:  # the time alone is left to predict from
        assert answers(table, asked)["calendar"] == ["hour", "weekday"]
        return
    with pytest.raises(RaymlopsError, match=said) as refused:
        answers(table, asked)
    assert isinstance(refused.value, DataError | ConfigError)
    assert "\n" not in str(refused.value)


def test_the_time_at_which_a_label_became_known_is_no_input_and_must_not_be_before_the_row() -> None:
    asked = replace(ORDERS, label_delay="0s", label_time="shipped_at")
    found = answers(orders(), asked)
    assert found["label_time"] == "shipped_at"
    assert "shipped_at" not in {column["name"] for column in (*found["inputs"], *found["left_out"])}
    with pytest.raises(DataError, match="must not be before 'ordered_at', got 100% of rows so"):
        answers(orders(), replace(asked, label_time="joined_at"))
    with pytest.raises(ConfigError, match="got both"):
        answers(orders(), replace(asked, label_delay="1d"))


def test_times_and_entities_are_found() -> None:
    assert time_columns(orders()) == ["ordered_at", "joined_at", "shipped_at"]
    assert likely_entities(orders(), ["returned", "ordered_at"]) == ["customer_id"]
    assert likely_entities(houses(), ["price", "sold"]) == []


def test_a_share_is_high_for_what_determines_and_none_for_noise() -> None:
    rng = np.random.default_rng(0)
    values, noise = rng.lognormal(size=4000), rng.normal(size=4000)
    assert told_share(values, values**3, classes=0) > 0.99
    assert told_share(noise, values, classes=0) < 0.05
    labels = (values > 1).astype(float)
    assert told_share(values, labels, classes=2) > 0.95
    assert told_share(noise, labels, classes=2) < 0.05
    filled = np.where(labels == 1, 5.0, np.nan)
    assert told_share(filled, labels, classes=2) > 0.95
