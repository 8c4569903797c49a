"""A key for one model sees nothing of another, on any page; a key for an environment sees what is live there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.console import Console
from raymlops.console.routes import ROUTES
from raymlops.metadata import MetadataService
from raymlops.records.serving.keys import new_key, parse_grant
from raymlops.runtime.explain.lineage import Lineages
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from tests.support.console_world import NOW, fill, make_sources

OWN, OTHER = "churn", "zebra"
OWN_BUNDLE, OTHER_BUNDLE = "01" + "b" * 62, "11" + "b" * 62
OWN_PAGE = f"delivery/bundles/{OWN_BUNDLE}"
ARTIFACT = "7" * 63 + "0"
SECRETS = (OTHER, "10bbbb", "11bbbb")
"""Parts of every name of the other model's things."""
NOTHING: dict[str, str] = {}

# pattern of a route -> addresses that the key may see, and those that it may not, each with one of what is not there
PAGES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    r"": (("", "?days=90", "?page=0"), NOTHING),
    r"models": (("models", "models?text=z"), NOTHING),
    r"models/([^/]+)": (("models/churn", "models/churn?looks=1"), {"models/zebra": "models/ghost"}),
    r"models/([^/]+)/([0-9]{1,9})": (("models/churn/1",), {"models/zebra/1": "models/ghost/1"}),
    r"monitoring": (("monitoring",), NOTHING),
    r"monitoring/([^/]+)": (("monitoring/churn",), {"monitoring/zebra": "monitoring/ghost"}),
    r"runs": (("runs", "runs?status=failed", "runs?pipeline=churn-train"), NOTHING),
    r"runs/compare": (
        ("runs/compare?run=churn-0&run=churn-1",),
        {"runs/compare?run=churn-0&run=zebra-1": "runs/compare?run=churn-0&run=ghost-1"},
    ),
    r"runs/([^/]+)": (("runs/churn-3",), {"runs/zebra-3": "runs/ghost-3"}),
    r"features": (("features", "features?text=spending"), NOTHING),
    r"features/([^/]+)": (("features/spending@1", "features/churn@1"), {"features/zebra@1": "features/ghost@1"}),
    r"lineage": (("lineage",), NOTHING),
    r"lineage/request/([^/]+)": (
        ("lineage/request/r-churn", "lineage/request/r-churn?model=churn"),
        {
            "lineage/request/r-zebra": "lineage/request/r-ghost",
            "lineage/request/r-zebra?model=zebra": "lineage/request/r-ghost?model=ghost",
        },
    ),
    r"lineage/([^/]+)/([^/]+)": (
        (
            "lineage/model/churn@1?hops=4",
            "lineage/run/churn-0?hops=4",
            "lineage/table/spending?hops=4",
            "lineage/endpoint/churn",
            "lineage/feature/spending@1",
            f"lineage/artifact/{ARTIFACT}?hops=4",
            f"lineage/bundle/{OWN_BUNDLE}",
        ),
        {
            "lineage/model/zebra@1": "lineage/model/ghost@1",
            "lineage/run/zebra-0": "lineage/run/ghost-0",
            "lineage/endpoint/zebra": "lineage/endpoint/ghost",
            "lineage/feature/zebra@1": "lineage/feature/ghost@1",
            f"lineage/bundle/{OTHER_BUNDLE}": f"lineage/bundle/{'9' * 64}",
        },
    ),
    r"delivery": (("delivery", "delivery?pipeline=churn-train"), NOTHING),
    r"delivery/bundles/([^/]+)": (
        (OWN_PAGE,),
        {
            f"delivery/bundles/{OTHER_BUNDLE}": f"delivery/bundles/{'9' * 64}",
            f"{OWN_PAGE}?against={OTHER_BUNDLE}": f"{OWN_PAGE}?against={'9' * 64}",
        },
    ),
    r"policy/([^/]+)": (("policy/churn", "policy/churn?all=1"), {"policy/zebra": "policy/ghost"}),
    r"system": ((), NOTHING),
    r"ledger": (("ledger", "ledger?action=promote", "ledger?subject=churn"), NOTHING),
    r"ledger/verify": ((), NOTHING),
    r"ledger/([0-9]{1,18})": (("ledger/1",), {"ledger/8": "ledger/9999"}),
}
LISTS = ("", "models", "monitoring", "runs", "features", "delivery", "ledger", "lineage/table/spending", "models/delay")
FILTERED = (
    "runs?pipeline=zebra-train",
    "ledger?subject=zebra",
    f"ledger?subject=bundle:{OTHER_BUNDLE}",
    "delivery?pipeline=zebra-train",
)

Ask = Callable[..., HttpReply]


class Requests:
    """A prediction log with one request of each model."""

    def batches(self, name: str, start: object, end: object, column: str) -> Iterator[pa.Table]:
        del start, end, column
        row = {"row": 0, "version": 2, "role": "champion", "score": 0.25, "label_predicted": "1", "served_at": NOW}
        yield pa.Table.from_pylist([{"request_id": f"r-{name.removeprefix('predictions/')}", **row}])


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    place = tmp_path_factory.mktemp("sight")
    with closing(MetadataService(place / "metadata.db", clock=ManualClock(NOW))) as metadata:
        fill(metadata, (OWN, OTHER, "delay"))
        for name, digest in ((OWN, OWN_BUNDLE), (OTHER, OTHER_BUNDLE)):
            run = metadata.runs.get_run(f"{name}-0").model_copy(update={"id": f"{name}-live", "bundle": digest})
            metadata.runs.create_run(run)
            evidence = {"environment": "prod", "by": f"friend of {name}"}
            metadata.ledger.append_entry(f"bundle:{digest}", "approve_bundle", "", evidence, key=digest)
        # the pipeline of the one trained the other before
        moved = metadata.runs.get_run(f"{OTHER}-live").model_copy(update={"id": f"{OTHER}-moved"})
        metadata.runs.create_run(moved.model_copy(update={"pipeline": f"{OWN}-train"}))
    sources, close = make_sources(place, empty=True)
    console = Console(replace(sources, lineage=Lineages(sources.metadata, Requests())))

    def asked(path: str, *grants: str) -> HttpReply:
        key, text = new_key("ann", [], NOW, grants=[parse_grant(grant) for grant in grants])
        address, _, query = path.partition("?")
        headers = {"authorization": f"Bearer {text}"}
        return console.answer(HttpRequest("GET", f"/console/{address}", headers, query=query), Access([key]))

    yield asked
    console.close()
    close()


def test_every_route_is_in_the_table() -> None:
    assert set(PAGES) == {route.pattern for route in ROUTES}, "say of a new route what a key for one model sees there"


@pytest.mark.parametrize("path", [path for own, _ in PAGES.values() for path in own])
@pytest.mark.parametrize("grant", ["read:churn", "operate:churn"])
def test_a_page_shows_nothing_of_another_model(ask: Ask, grant: str, path: str) -> None:
    reply = ask(path, grant)
    text = reply.body.decode()
    assert reply.status == 200, text
    assert "This page is not complete" not in text
    for secret in SECRETS:
        assert secret not in text, text[max(text.index(secret) - 300, 0) : text.index(secret) + 100]


@pytest.mark.parametrize(("path", "ghost"), [pair for _, others in PAGES.values() for pair in others.items()])
def test_what_is_of_another_model_is_not_told_from_what_is_not_there(ask: Ask, path: str, ghost: str) -> None:
    hidden, missing = ask(path, "read:churn"), ask(ghost, "read:churn")
    assert (hidden.status, missing.status) == (404, 404)
    names = ((OTHER, "ghost"), (OTHER_BUNDLE, "9" * 64), ("ledger entry 8", "ledger entry 9999"))
    text = hidden.body.decode()
    for one, other in names:
        text = text.replace(one, other)
    assert text == missing.body.decode()
    assert ask(path, "read:*").status == 200, "who may read all sees it"


@pytest.mark.parametrize("path", FILTERED)
def test_a_filter_finds_nothing_of_another_model(ask: Ask, path: str) -> None:
    found, nothing = ask(path, "read:churn"), ask(path.replace(OTHER, "ghost").replace("11b", "99b"), "read:churn")
    assert found.status == 200
    told = found.body.decode().replace(OTHER, "ghost").replace("11b", "99b")
    assert told == nothing.body.decode()


@pytest.mark.parametrize("path", [path for path in LISTS if path != "models/delay"])
def test_who_may_read_all_sees_both(ask: Ask, path: str) -> None:
    text = ask(path, "read:*").body.decode()
    assert OTHER in text
    assert OWN in text
    both = ask(path, "read:churn", "read:zebra").body.decode()
    assert OTHER in both
    assert OWN in both


def test_what_waits_before_a_model_is_not_named(ask: Ask) -> None:
    assert "before it comes churn, delay, zebra" in ask("models/delay", "read:*").body.decode()
    text = ask("models/delay", "read:delay").body.decode()
    assert "1 of 1 runs are under way; others come before it" in text
    assert "churn" not in text
    assert OTHER not in text


@pytest.mark.parametrize("path", ["system", "ledger/verify"])
def test_what_is_about_the_platform_is_for_who_may_read_all(ask: Ask, path: str) -> None:
    reply = ask(path, "read:churn", "operate:env/prod")
    assert reply.status == 403
    assert OTHER not in reply.body.decode()
    assert ask(path, "read:*").status == 200
    assert 'href="/console/system"' not in ask("", "read:churn").body.decode()
    assert 'href="/console/system"' in ask("", "read:*").body.decode()


@pytest.mark.parametrize("path", ["", "models", "runs", "ledger", "delivery", "models/churn", "runs/churn-0"])
def test_a_key_that_reads_nothing_is_refused(ask: Ask, path: str) -> None:
    assert ask(path, "infer:*", "label:churn", "trigger:churn").status == 403


def test_a_key_for_an_environment_sees_what_is_live_there(ask: Ask) -> None:
    live = {"prod": ("00" + "b" * 62, "10" + "b" * 62), "dev": (OWN_BUNDLE, OTHER_BUNDLE)}
    for own, other in (("prod", "dev"), ("dev", "prod")):
        grant = f"read:env/{own}"
        page = ask("delivery", grant).body.decode()
        assert all(f"/console/delivery/bundles/{digest}" in page for digest in live[own])
        assert not any(digest[:12] in page for digest in live[other])
        assert [ask(f"delivery/bundles/{digest}", grant).status for digest in live[own]] == [200, 200]
        assert [ask(f"delivery/bundles/{digest}", grant).status for digest in live[other]] == [404, 404]
        assert [ask(path, grant).status for path in ("models/churn", "runs/churn-0", "ledger/1")] == [404, 404, 404]
        assert OTHER not in ask("", grant).body.decode()
        told = ask(f"ledger?subject=bundle:{OWN_BUNDLE}", grant).body.decode()
        assert ("friend of churn" in told) == (own == "dev")


def test_graphs_hold_nothing_that_their_page_does_not_show(ask: Ask) -> None:
    text = ask("lineage/table/spending?hops=4", "read:churn").body.decode()
    assert "data-graph" in text
    assert "churn@" in text
    everything = ask("lineage/table/spending?hops=4", "read:*").body.decode()
    assert json.dumps(f"model {OTHER}@1").strip('"') in everything
