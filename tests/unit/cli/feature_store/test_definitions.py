from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from raymlops.cli.feature_store.definitions import definitions_of, fault_lines, lines_of
from raymlops.errors import ConfigError, RaymlopsError
from raymlops.features import Entity, FeatureView, Field
from raymlops.features.catalog.catalog_file import Catalog

FILE = """
from raymlops.features import Entity, FeatureService, FeatureView, Field

shop = Entity("shop", ["shop_id"])
sales = FeatureView("sales", shop, [Field("amount", "float64")], owner="a")
again = sales
ALL = [shop, sales, (1, 2), FeatureService("s", ["sales:amount"])]
"""


def test_definitions_are_found_alone_and_in_lists_each_once(tmp_path: Path) -> None:
    path = tmp_path / "definitions.py"
    path.write_text(FILE)
    assert [getattr(one, "ref", one.name) for one in definitions_of(path)] == ["shop", "sales@1", "s@1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a file"),
        ("x = 1", "defines no entity, view or service at module level"),
        ("x = 1 / 0", "running it raised ZeroDivisionError('division by zero')"),
        ("def f(:", "running it raised SyntaxError"),
        ("from raymlops.features import Entity\nEntity('a b', [])", "entity name must be made of"),
    ],
)
def test_files_that_define_nothing_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "definitions.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        definitions_of(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_report_is_one_line_per_definition_and_fault(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.json")
    shop = Entity("shop", ["shop_id"])
    sales = FeatureView("sales", shop, [Field("amount", "float64")], ttl=timedelta(days=1))
    stock = FeatureView("stock", shop, [Field("pieces", "int64")], owner="a")
    assert lines_of(catalog.apply([shop, sales, stock])) == ["+ entity shop", "+ view sales@1", "+ view stock@1"]
    given = [
        shop,
        replace(sales, ttl=timedelta(days=2)),
        replace(stock, owner="b", description="in [bold] pieces"),
        FeatureView("orders", shop, [Field("n", "int64")]),
    ]
    assert lines_of(catalog.apply(given, dry_run=True)) == [
        "+ view orders@1",
        "~ view stock@1 owner: a -> b, description: '' -> in [bold] pieces",
        "= entity shop",
        "! view 'sales@1': ttl 1 day -> 2 days: give the changed one a new version (2 is free)",
    ]


def test_several_faults_are_told_one_per_line(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.json")
    lost = [FeatureView(name, "nobody", [Field("x", "int64")]) for name in ("a", "b")]
    with pytest.raises(ConfigError) as one:
        catalog.apply(lost[:1])
    with pytest.raises(ConfigError) as two:
        catalog.apply(lost)
    assert fault_lines(one.value) == fault_lines(RaymlopsError("something else")) == []
    assert fault_lines(two.value) == [
        "! view 'a@1': entity 'nobody' is not applied",
        "! view 'b@1': entity 'nobody' is not applied",
    ]
