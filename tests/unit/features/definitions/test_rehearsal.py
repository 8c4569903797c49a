from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raymlops.errors import ConfigError
from raymlops.features import Entity, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.definitions.examples import example_of
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.rehearsal import rehearse

HOUR = timedelta(hours=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("n", "int64", ge=0), Field("t", "timestamp"), Field("name", "string")],
    aggregates=[WindowAggregate("total", "sum", "x", HOUR)],
)
_calls = itertools.count()


def trial(function: str, *, dtype: Any = "float64", example: Mapping[str, Any] | None = None) -> None:
    inputs = ["v:x", "v:n", "v:t", "v:name", "v:total", "asked", "word"]
    view = OnDemandView(
        "od",
        inputs,
        [Field("y", dtype)],
        f"{__name__}:{function}",
        request_types={"word": "string"},
        example=example,
    )
    rehearse(OnDemandFunction(view), example_of(view, {"v": VIEW}))


def product(columns: Any) -> Any:
    return {"y": columns["v__x"] * columns["asked"] / columns["v__n"]}


def conditional(columns: Any) -> Any:
    return {"y": np.where(columns["v__x"] > 0, np.log1p(np.abs(columns["v__total"])), np.nan)}


def hours(columns: Any) -> Any:
    return {"y": columns["v__t"].astype("datetime64[h]")}


def first_letter(columns: Any) -> Any:
    return {"y": [None if not word else word[0].upper() for word in columns["word"]]}


def through_pandas(columns: Any) -> Any:
    frame = pd.DataFrame({"x": columns["v__x"], "asked": columns["asked"]})
    return {"y": (frame["x"].fillna(0.0) + frame["asked"]).to_numpy()}


def constant(columns: Any) -> Any:
    return {"y": np.full(len(columns["v__x"]), 7)}


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        ("product", "float64"),
        ("conditional", "float64"),
        ("hours", "timestamp"),
        ("first_letter", "string"),
        ("through_pandas", "float64"),
        ("constant", "int64"),
    ],
)
def test_functions_that_treat_every_row_by_itself_pass(function: str, dtype: str) -> None:
    trial(function, dtype=dtype)


def centred(columns: Any) -> Any:
    return {"y": columns["v__x"] - np.nanmean(columns["v__x"])}


def running_total(columns: Any) -> Any:
    return {"y": np.nancumsum(columns["asked"])}


def ranked(columns: Any) -> Any:
    return {"y": np.argsort(np.argsort(columns["v__total"])).astype(float)}


def sorted_values(columns: Any) -> Any:
    return {"y": np.sort(columns["v__x"])}


def share_of_rows(columns: Any) -> Any:
    return {"y": np.full(len(columns["v__x"]), 1 / len(columns["v__x"]))}


def previous(columns: Any) -> Any:
    return {"y": pd.Series(columns["asked"]).shift(1).to_numpy()}


def filled_with_the_mean(columns: Any) -> Any:
    return {"y": pd.Series(columns["v__x"]).fillna(pd.Series(columns["v__x"]).mean()).to_numpy()}


def coded(columns: Any) -> Any:
    return {"y": pd.factorize(columns["word"])[0]}


def negative_zero(columns: Any) -> Any:
    return {"y": np.full(len(columns["v__x"]), 0.0 if len(columns["v__x"]) > 1 else -0.0)}


@pytest.mark.parametrize(
    "function",
    [
        *("centred", "running_total", "ranked", "sorted_values", "share_of_rows", "previous"),
        *("filled_with_the_mean", "coded", "negative_zero"),
    ],
)
def test_functions_that_look_across_rows_are_refused(function: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trial(function)
    message = f"on-demand view 'od@1': {__name__}:{function} must give a row the same 'od__y' however it is called, got"
    assert message in str(caught.value)


def different_each_time(columns: Any) -> Any:
    return {"y": np.full(len(columns["v__x"]), float(next(_calls)))}


def test_functions_that_are_not_deterministic_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"in one call and .* when called again"):
        trial("different_each_time")


def writing(columns: Any) -> Any:
    columns["v__x"][np.isnan(columns["v__x"])] = 0.0
    return {"y": columns["v__x"] * 2}


def writing_texts(columns: Any) -> Any:
    columns["word"][:] = ""
    return {"y": columns["asked"]}


@pytest.mark.parametrize(("function", "name"), [("writing", "v__x"), ("writing_texts", "word")])
def test_functions_that_change_their_inputs_are_refused(function: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"must not change its inputs, but changed '{name}'"):
        trial(function)


def length_of_word(columns: Any) -> Any:
    return {"y": np.array([float(len(word)) for word in columns["word"]])}


def whole_number(columns: Any) -> Any:
    return {"y": np.array([int(value) for value in columns["asked"]])}


def no_columns(columns: Any) -> Any:
    return columns["v__x"]


def other_columns(columns: Any) -> Any:
    return {"y": columns["v__x"], 3: columns["v__x"]}


def one_value(columns: Any) -> Any:
    return {"y": float(np.nansum(columns["v__x"]))}


def ragged(columns: Any) -> Any:
    return {"y": [[1.0], [1.0, 2.0]]}


def two_dimensional(columns: Any) -> Any:
    return {"y": np.zeros((len(columns["v__x"]), 2))}


def only_present(columns: Any) -> Any:
    return {"y": columns["v__x"][~np.isnan(columns["v__x"])]}


def texts(columns: Any) -> Any:
    return {"y": columns["word"]}


def objects(columns: Any) -> Any:
    return {"y": np.array([object()] * len(columns["v__x"]))}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("length_of_word", "raised TypeError"),
        ("whole_number", "raised ValueError('cannot convert float NaN to integer')"),
        ("no_columns", "must return columns ['y'], got ndarray"),
        ("other_columns", "must return columns ['y'], got ['3', 'y']"),
        ("one_value", "column 'y' must have shape"),
        ("ragged", "column 'y' must be an array, got list"),
        ("two_dimensional", "column 'y' must have shape"),
        ("only_present", "column 'y' must have shape"),
        ("texts", "column 'y' must be float64, got object"),
        ("objects", "column 'y' must be float64, got object"),
    ],
)
def test_functions_that_fail_or_return_something_else_are_refused(function: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trial(function)
    assert str(caught.value).startswith("on-demand view 'od@1': ")
    assert message in str(caught.value)


def test_a_type_that_fits_some_values_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="column 'y' must be int64, got float64"):
        trial("product", dtype="int64")


def parsed(columns: Any) -> Any:
    words = columns["word"]
    return {"y": np.array([np.nan if word is None else float(word.split(":")[1]) for word in words])}


def test_an_example_of_ones_own_shows_what_values_are_like() -> None:
    with pytest.raises(ConfigError, match=r"raised IndexError.*tried on an example of \d+ rows"):
        trial("parsed")
    instant = pd.Timestamp("2024-01-01", tz="UTC").to_pydatetime()
    columns = {"v:x": [1.0, 2.0], "v__n": [1, 2], "v:t": [instant] * 2, "v:name": ["a", "b"], "v:total": [0.5, 1.5]}
    own = {**columns, "asked": [1, 2], "word": ["a:1", "b:2.5"]}
    trial("parsed", example=own)
    with pytest.raises(ConfigError, match="must give a row the same"):
        trial("centred", example=own)
