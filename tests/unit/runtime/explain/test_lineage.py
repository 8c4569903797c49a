from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ModelVersionNotFound, NotFoundError
from raymlops.metadata import MetadataService
from raymlops.records.models import ModelState
from raymlops.records.record import canonical_json
from raymlops.runtime.explain.lineage import Lineages
from raymlops.testing.metadata_blessings import example_blessings
from raymlops.testing.metadata_examples import EPOCH, HOUR, example_bundle, example_draft, example_plan, example_run


class Log:
    """Prediction events as the monitor keeps them."""

    def __init__(self, **tables: pa.Table) -> None:
        self.tables = {f"predictions/{name}": table for name, table in tables.items()}

    def batches(self, name: str, start: datetime | None, end: datetime | None, column: str) -> Iterator[pa.Table]:
        table = self.tables.get(name)
        if table is not None:
            yield from (table.slice(place, 1) for place in range(table.num_rows))


def _events(*events: tuple[str, int, str, datetime]) -> pa.Table:
    columns = {
        "request_id": [event[0] for event in events],
        "row": [0] * len(events),
        "version": [event[1] for event in events],
        "role": [event[2] for event in events],
        "served_at": pa.array([event[3] for event in events], pa.timestamp("us", tz="UTC")),
        "score": [0.25] * len(events),
    }
    return pa.table(columns)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    """A model of which version 1 was deployed by ann, and version 2 promoted by the controller a day later."""
    clock = ManualClock(EPOCH)
    with closing(MetadataService(tmp_path / "m.db", clock=clock)) as service:
        service.deployments.put_bundle(example_bundle())
        for number in (1, 2):
            service.runs.create_run(example_run(f"run-{number}").model_copy(update={"reason": f"because {number}"}))
            trained: dict[str, Any] = {
                "run_id": f"run-{number}",
                "bundle": "b" * 64,
                "table_versions": {"planes": 11 + number},
            }
            trained |= {"training_set": "3" * 64, "blessings": example_blessings()}
            service.models.register_version(example_draft().model_copy(update=trained), key=f"run-{number}")
        service.contexts.put_context("environment", "prod")
        service.contexts.add_to_context("environment", "prod", run_ids=["run-1"])
        first = example_plan(1).model_copy(update={"trial": None})
        service.plans.put_plan(first)
        service.models.set_alias("churn", "champion", 1, expected=None, reason="deployed", evidence={"plan": 1})
        service.models.set_state("churn", 1, ModelState.PRODUCTION, reason="deployed", evidence={"plan": 1})
        service.ledger.append_entry(
            "churn", "deploy", "deployed", {"number": 1, "by": "ann"}, key="user/churn/deploy/1"
        )
        clock.advance_to(EPOCH + timedelta(days=1))
        service.ledger.append_entry(
            "churn", "promote", "0.41 < 0.45", {"plan": 1, "version": 2}, key="control/churn/promote/2"
        )
        service.plans.put_plan(
            first.model_copy(update={"number": 2, "champion": 2, "backup": 1, "created_at": clock.now()})
        )
        service.models.set_alias("churn", "champion", 2, expected=1, reason="0.41 < 0.45", evidence={"plan": 2})
        service.models.set_alias("churn", "backup", 1, expected=None, reason="0.41 < 0.45", evidence={"plan": 2})
        yield service


def test_an_answer_is_traced_to_data_code_run_and_who_promoted_it(metadata: MetadataService) -> None:
    log = Log(churn=_events(("old", 1, "champion", EPOCH + HOUR), ("new", 2, "champion", EPOCH + 30 * HOUR)))
    lineages = Lineages(metadata, log)
    old, new = lineages.of_request("old"), lineages.of_request("new", "churn")
    assert (old["model"], old["answered_by"]["version"], old["promotion"]["by"]) == ("churn", 1, "ann")
    assert old["promotion"]["plan"]["number"] == 1
    assert old["promotion"]["alias"]["evidence"] == {"plan": 1}
    assert old["request"]["rows"][0]["score"] == 0.25
    assert new["answered_by"]["run"]["reason"] == "because 2"
    assert new["answered_by"]["table_versions"] == {"planes": 13}
    assert new["answered_by"]["code"]["project"] == "flights"
    assert (new["promotion"]["by"], new["promotion"]["reason"]) == ("controller", "0.41 < 0.45")
    assert new["promotion"]["ledger"]["evidence"]["version"] == 2
    assert orjson.loads(canonical_json(new))["promotion"]["plan"]["number"] == 2


def test_what_a_shadow_would_have_said_is_not_the_answer(metadata: MetadataService) -> None:
    log = Log(churn=_events(("r", 1, "champion", EPOCH + HOUR), ("r", 2, "shadow", EPOCH + 2 * HOUR)))
    found = Lineages(metadata, log).of_request("r")
    assert found["answered_by"]["version"] == 1
    assert [row["role"] for row in found["request"]["rows"]] == ["champion", "shadow"]


def test_a_backup_that_answered_is_traced_to_the_plan_that_kept_it(metadata: MetadataService) -> None:
    log = Log(churn=_events(("r", 1, "backup", EPOCH + 40 * HOUR)))
    promotion = Lineages(metadata, log).of_request("r")["promotion"]
    assert promotion["alias"]["alias"] == "backup"
    assert promotion["plan"]["number"] == 2
    assert promotion["by"] == "controller"


def test_what_somebody_did_first_is_why_and_not_what_had_been_decided(metadata: MetadataService) -> None:
    decided = {"plan": 2, "version": 1}
    metadata.ledger.append_entry("churn", "promote", "the controller's reason", decided, key="control/churn/promote/3")
    metadata.ledger.append_entry(
        "churn", "deploy", "ann's reason", {"number": 3, "by": "ann"}, key="user/churn/deploy/3"
    )
    metadata.models.set_alias("churn", "champion", 1, expected=2, reason="ann's reason", evidence={"plan": 3})
    log = Log(churn=_events(("r", 1, "champion", EPOCH + 50 * HOUR)))
    assert Lineages(metadata, log).of_request("r")["promotion"]["by"] == "ann"
    given_up = {"decision": "control/churn/promote/2"}
    metadata.ledger.append_entry("churn", "abandon", "superseded", given_up, key="control/churn/abandon/2")
    later = Log(churn=_events(("r", 2, "champion", EPOCH + 30 * HOUR)))
    promotion = Lineages(metadata, later).of_request("r")["promotion"]
    assert (promotion["by"], promotion["reason"]) == (None, "0.41 < 0.45"), "the alias alone tells"


def test_a_version_tells_what_became_of_it(metadata: MetadataService) -> None:
    found = Lineages(metadata, Log()).of_version("churn", 1)
    assert [change["state"] for change in found["states"]] == ["production"]
    assert [(change["alias"], change["version"]) for change in found["aliases"]] == [
        ("champion", 1),
        ("champion", 2),
        ("backup", 1),
    ]
    assert found["code"]["lock_sha256"] == "d" * 64
    assert found["contexts"] == [{"kind": "environment", "name": "prod"}]
    assert [version.version for version in Lineages(metadata, Log()).trained_on("planes", 13)] == [2]


def test_what_is_not_known_is_named(metadata: MetadataService) -> None:
    lineages = Lineages(metadata, Log(churn=_events(("r", 1, "champion", EPOCH))))
    with pytest.raises(NotFoundError, match="any model has request id 'ghost'"):
        lineages.of_request("ghost")
    with pytest.raises(NotFoundError, match="model 'other' has request id 'r'"):
        lineages.of_request("r", "other")
    with pytest.raises(ModelVersionNotFound, match="'churn' version 9"):
        lineages.of_version("churn", 9)
