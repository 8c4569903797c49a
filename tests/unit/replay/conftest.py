"""A small project whose data comes from a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

_MODULE = """
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.replay import ReplayTables, ViewRows

START = datetime(2026, 1, 1, tzinfo=UTC)
user = Entity("user", ["user_id"])
facts = FeatureView("facts", user, [Field("size", "int64")])
DEFINITIONS = (user, facts, FeatureService("service", ["facts:size"]))


def spine(tables, start, end):
    raise NotImplementedError


def tables():
    at = [START + timedelta(hours=2 * n) for n in range(3000)]
    ids = [f"r{n}" for n in range(3000)]
    users = [f"u{n % 7}" for n in range(3000)]
    return ReplayTables(
        requests=pa.table({"request_id": ids, "at": at, "user_id": users}),
        labels=pa.table(
            {"request_id": ids, "known_at": [a + timedelta(hours=6) for a in at], "label": [n % 2 for n in range(3000)]}
        ),
        views={"facts": ViewRows(pa.table({"user_id": users, "size": range(3000), "event_time": at}), "event_time")},
    )


def fails():
    raise ValueError("no such file")


def nothing():
    return None
"""


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Path]:
    """Makes the project, with other keys of ``project.yaml`` where they are given; a key of ``None`` is left out."""
    count = iter(range(100))

    def make(**keys: Any) -> Path:
        name = f"replayed_{tmp_path.name.replace('-', '_')}_{next(count)}"
        directory = tmp_path / name
        directory.mkdir()
        (directory / f"{name}.py").write_text(_MODULE)
        document = {
            "name": "small",
            "model": "small",
            "definitions": f"{name}:DEFINITIONS",
            "service": "service",
            "spine": f"{name}:spine",
            "replay": {"source": f"{name}:tables"},
            **keys,
        }
        document = {key: value for key, value in document.items() if value is not None}
        text = yaml.safe_dump(document).replace("MODULE", name)
        (directory / "project.yaml").write_text(text)
        return directory

    return make
