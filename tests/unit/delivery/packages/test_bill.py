"""The bill of materials of this environment."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import numpy
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from raymlops.delivery.packages.bill import environment_bill


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all there is installed."""

    def found() -> list[Distribution]:
        return list(distributions(path=[str(tmp_path / "first"), str(tmp_path / "second")]))

    monkeypatch.setattr("raymlops.delivery.packages.bill.distributions", found)
    return tmp_path


def install(place: Path, name: str, version: str, *headers: str) -> None:
    """The metadata of an installed package."""
    directory = place / f"{name}-{version}.dist-info"
    directory.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *headers]
    (directory / "METADATA").write_text("\n".join(lines) + "\n")


def bill_of(text: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Reference -> component, and reference -> what it depends on; the text is valid by the schema."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    bill = json.loads(text)
    depends = {one["ref"]: one.get("dependsOn", []) for one in bill.get("dependencies", [])}
    return {one["bom-ref"]: one for one in bill.get("components", [])}, depends


def test_the_bill_names_what_is_installed_and_is_valid_and_the_same_each_time() -> None:
    text = environment_bill()
    components, depends = bill_of(text)
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    numbers = f"numpy=={numpy.__version__}"
    assert components[numbers]["purl"] == f"pkg:pypi/{numbers.replace('==', '@')}"
    assert {"ray", "raymlops", "xgboost"} <= {one["name"] for one in components.values()}
    assert numbers in next(needed for name, needed in depends.items() if name.startswith("xgboost=="))
    assert b"file:" not in text, "no path of this machine"
    assert environment_bill() == text


def test_what_a_package_requires_here_counts_with_the_extras_that_another_asks_of_it(site: Path) -> None:
    install(site / "first", "App", "1", "Requires-Dist: lib[fast]>=1", "Requires-Dist: old; python_version < '3'")
    install(
        site / "first", "lib", "2", "Requires-Dist: C_speed; extra == 'fast'", "Requires-Dist: docs; extra == 'doc'"
    )
    for name in ("c.speed", "docs", "old"):
        install(site / "first", name, "3")
    _, depends = bill_of(environment_bill())
    wanted = {"App==1": ["lib==2"], "lib==2": ["c.speed==3"]}
    assert depends == {**wanted, "c.speed==3": [], "docs==3": [], "old==3": []}


@pytest.mark.parametrize(
    ("headers", "license"),
    [
        (["License-Expression: MIT OR Apache-2.0"], {"expression": "MIT OR Apache-2.0"}),
        (["License-Expression: MIT"], {"license": {"id": "MIT"}}),
        (["License: Three clauses"], {"license": {"name": "Three clauses"}}),
        (
            ["License: Apache", "Classifier: License :: OSI Approved :: A", "Classifier: License :: OSI Approved :: B"],
            {"license": {"name": "A, B"}},
        ),
        (["License: The first line", "        of a whole text"], None),
        ([], None),
    ],
)
def test_the_license_as_declared(site: Path, headers: list[str], license: dict[str, Any] | None) -> None:
    install(site / "first", "lib", "1", *headers)
    (component,) = bill_of(environment_bill())[0].values()
    for one in component.get("licenses", []):
        assert one.get("license", one).pop("acknowledgement") == "declared"
    assert component.get("licenses", []) == ([] if license is None else [license])


def test_of_two_of_one_name_the_one_that_is_imported_counts(site: Path) -> None:
    install(site / "second", "a-lib", "1")
    install(site / "first", "A_Lib", "2")
    (site / "first" / "broken-1.dist-info").mkdir()
    assert bill_of(environment_bill())[0].keys() == {"A_Lib==2"}
