"""The bill of materials of this environment."""

from __future__ import annotations

import json

import numpy
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from raymlops.delivery.packages.bill import environment_bill
from raymlops.errors import DataError


def test_the_bill_names_what_is_installed_and_is_valid_and_the_same_each_time() -> None:
    text = environment_bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {component["name"]: component["version"] for component in bill["components"]}
    assert named["numpy"] == numpy.__version__
    assert {"ray", "raymlops", "xgboost"} <= named.keys()
    assert b"file:" not in text, "no path of this machine"
    assert environment_bill() == text


def test_a_bill_that_takes_too_long_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymlops.delivery.packages.bill._TIMEOUT_S", 0.001)
    with pytest.raises(DataError, match=r"was not made within 0\.001 s"):
        environment_bill()
