from __future__ import annotations

import pytest

from raymlops.errors import ConfigError
from raymlops.features.definitions.naming import column_name, parse_feature, parse_reference


def test_references() -> None:
    assert parse_reference("sales") == ("sales", None)
    assert parse_reference("sales@12") == ("sales", 12)
    assert parse_feature("sales:amount") == ("sales", None, "amount")
    assert parse_feature("sales@2:mean_1h") == ("sales", 2, "mean_1h")
    assert parse_feature("sales:Unit Price: EUR") == ("sales", None, "Unit Price: EUR")
    assert column_name("sales", "amount") == "sales__amount"


@pytest.mark.parametrize("wrong", ["", "sales@", "sales@0", "@1", "sales:amount", "sales@1@2", "sa les"])
def test_wrong_references(wrong: str) -> None:
    with pytest.raises(ConfigError, match="must be NAME or NAME@VERSION"):
        parse_reference(wrong)


@pytest.mark.parametrize("wrong", ["", "sales", "sales:", ":amount", "sales:_amount", "sales@x:amount"])
def test_wrong_features(wrong: str) -> None:
    with pytest.raises(ConfigError, match="must be VIEW:FIELD"):
        parse_feature(wrong)
