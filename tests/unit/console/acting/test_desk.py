"""People act on the console: over the real operator, the real database and the real gateway, without a script."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.console.acting.actions import ACTIONS
from raymlops.serving.front.orders import scope_of
from tests.support.console_actions import Browser, Form, World, read
from tests.support.console_world import EVIL

pytestmark = pytest.mark.asyncio

BUNDLE = "00" + "b" * 62
ADDRESSES = {
    "promote": "model=churn&version=4",
    "rollback": "model=delay",
    "abort": "model=churn",
    "load": "model=delay&version=1",
    "unload": "model=delay",
    "block": "model=churn&version=3",
    "unblock": "model=churn&version=1",
    "pause": "model=churn",
    "resume": "model=churn",
    "retrain": "model=churn",
    "approve": f"environment=prod&bundle={BUNDLE}",
}
"""Action -> what its page is asked about; churn has v4 on trial, v3 as champion, v2 as backup, v1 blocked."""


def grant_of(action: str) -> str:
    return f"{scope_of(action)}:{'env/prod' if action == 'approve' else ADDRESSES[action].split('&')[0].split('=')[1]}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled database, to be copied: filling one takes a second."""
    home = tmp_path_factory.mktemp("template")
    World(home).close()
    return home / "metadata.db"


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path, filled=template)
    yield found
    found.close()


@pytest.fixture
def guarded(template: Path, tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path, required=True, filled=template)
    yield found
    found.close()


def address(action: str) -> str:
    return f"/console/actions/{action}?{ADDRESSES[action]}"


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_is_shown_first_and_in_the_ledger_before_it_is_done(world: World, action: str) -> None:
    browser = await world.browser(grant_of(action))
    before = world.metadata.ledger.entries()
    plans = world.metadata.plans.plan_numbers()
    form = await browser.form(address(action))
    assert world.metadata.ledger.entries() == before, "looking changes nothing"
    assert world.metadata.plans.plan_numbers() == plans
    reply = await browser.submit(form, {"reason": f"on call {EVIL}"})
    assert reply.status == 303, reply.body.decode()
    done = await browser.get(reply.headers["location"])
    assert done.status == 200
    assert EVIL not in done.body.decode()
    new = world.metadata.ledger.entries(after=before[-1].sequence)
    key = world.metadata.keys.list_keys()[0]
    assert key.id in str(new[0].evidence)
    assert "(ann)" in str(new[0].evidence["by"])
    assert new[0].reason == f"on call {EVIL}"
    assert new[0].evidence["via"] == "console"
    if ACTIONS[action].makes_plan:
        model = ADDRESSES[action].split("&")[0].split("=")[1]
        assert world.metadata.plans.plan_numbers()[model] == plans[model] + 1
    # the same post again, as a reload of the page sends it
    assert (await browser.submit(form, {"reason": f"on call {EVIL}"})).status == 303
    assert world.metadata.ledger.entries(after=before[-1].sequence) == new
    assert world.metadata.ledger.verify_ledger() > 0


@pytest.mark.parametrize("action", ACTIONS)
async def test_nobody_acts_without_a_key_that_may(world: World, action: str) -> None:
    signed = await world.browser(grant_of(action))
    form = await signed.form(address(action))
    before = world.metadata.plans.plan_numbers()
    reader = await world.browser()
    shown = await reader.get(address(action))
    assert shown.status == 200, "on loopback, readers look"
    assert grant_of(action) in shown.body.decode()
    assert [one for one in read(shown).forms if one.method == "post"] == []
    assert (await reader.submit(form, {"reason": "r"})).status == 401
    other = "operate:env/dev" if action == "approve" else f"{scope_of(action)}:price"
    for number, grants in enumerate((["infer:*", "label:*", "read:*", "read:env/*"], [other])):
        narrow = await world.browser(*grants, name=f"bob{number}")
        page = await narrow.get(address(action))
        assert page.status == 200
        assert "lacks the grant" in page.body.decode()
        token = next(one.fields["csrf"] for one in read(page).forms if "logout" in one.action)
        reply = await narrow.submit(form, {"reason": "r", "csrf": token})
        assert reply.status == 403
    assert world.metadata.plans.plan_numbers() == before
    told = [one for one in await world.refused() if one["kind"] == "forbidden"]
    assert {one["name"] for one in told} == {"bob0", "bob1"}


async def test_a_key_that_is_revoked_ends_its_session(world: World) -> None:
    text = world.key("operate:churn")
    browser = Browser(world.gateway)
    await browser.sign_in(text)
    form = await browser.form(address("abort"))
    world.metadata.keys.revoke_key(text.split("_")[1])
    assert (await browser.submit(form, {"reason": "r"})).status == 401, "at once, before the next poll"
    world.poll()
    page = (await browser.get("/console")).body.decode()
    assert "Sign in" in page
    assert "Sign out" not in page
    assert (await browser.sign_in(text)).status == 401
    assert world.metadata.plans.plan_numbers()["churn"] == 4


async def test_pages_lead_to_what_can_be_done(world: World) -> None:
    browser = await world.browser()

    async def offered(path: str) -> set[str]:
        text = (await browser.get(f"/console{path}")).body.decode().replace("&amp;", "&")
        return set(re.findall(r'href="/console/actions/([^"]+)"', text))

    on_trial = await offered("/models/churn")
    assert {"promote?model=churn&version=4", "abort?model=churn", "unblock?model=churn&version=1"} <= on_trial
    assert "rollback?model=churn" not in on_trial
    assert {"rollback?model=delay", "promote?model=delay", "retrain?model=delay"} <= await offered("/models/delay")
    assert f"approve?environment=prod&bundle={BUNDLE}" in await offered(f"/delivery/bundles/{BUNDLE}")
    for address in on_trial:
        assert (await browser.get(f"/console/actions/{address}")).status == 200, address


async def test_all_models_are_paused_by_a_key_for_all(world: World) -> None:
    narrow, browser = await world.browser("operate:churn"), await world.browser("operate:*", name="bob")
    path = "/console/actions/pause?model=*"
    assert "lacks the grant" in (await narrow.get(path)).body.decode()
    assert path.replace("*", "%2A") in (await browser.get("/console")).body.decode()
    assert (await browser.submit(await browser.form(path), {"reason": "maintenance"})).status == 303
    assert [entry.action for entry in world.metadata.ledger.entries("*")] == ["use_right", "pause"]


async def test_of_two_people_who_promote_at_once_one_wins(world: World) -> None:
    ann, bob = await world.browser("operate:churn"), await world.browser("operate:*", name="bob")
    first = await ann.form("/console/actions/promote?model=churn&version=4")
    second = await bob.form("/console/actions/promote?model=churn&version=2")
    replies = await asyncio.gather(
        ann.submit(first, {"reason": "it is better"}), bob.submit(second, {"reason": "no, that one"})
    )
    assert sorted(reply.status for reply in replies) == [303, 409]
    lost = next(reply for reply in replies if reply.status == 409).body.decode()
    words = " ".join(read(next(reply for reply in replies if reply.status == 409)).words)
    assert "Somebody else was faster" in words
    assert "plan 5" in words
    assert "it is better" in words or "no, that one" in words
    assert "Look again" in lost
    assert world.metadata.plans.plan_numbers()["churn"] == 5


async def test_the_page_says_what_would_happen(world: World) -> None:
    browser = await world.browser()

    async def words(path: str) -> str:
        return " ".join(read(await browser.get(f"/console/actions/{path}")).words)

    told = await words("promote?model=churn&version=4")
    assert "champion v3 v4 changes" in " ".join(told.split())
    assert "v4 answers as champion." in told
    assert "The trial of v4 ends before its guards have decided." in told
    assert "v2 is no longer loaded" in told
    assert "The trial of v4 ends; a later trial of it begins from nothing." in await words("abort?model=churn")
    assert "stop until it is deployed again" in await words("unload?model=churn")
    assert "v3, the backup," not in await words("block?model=churn&version=3")
    assert "v2, the backup, answers for it" in await words("block?model=churn&version=3")
    assert "approvals needed" in await words(f"approve?environment=prod&bundle={BUNDLE}")
    for path, said in {
        "promote?model=churn&version=1": "version 1 of churn is blocked",
        "promote?model=churn&version=99": "model 'churn' version 99 does not exist",
        "promote?model=churn&version=x": "'version' must be a whole number",
        "rollback?model=nobody": "model 'nobody' is not deployed",
        "abort?model=delay": "no version of delay is on trial",
        "retrain?model=nobody": "model 'nobody' is not deployed",
        "promote?model=%3Cscript%3E&version=1": "'<script>' is not deployed",
        "promote": "promote must name a model",
        "unload?model=*": "unload must name a model",
        f"approve?environment=prod&bundle={'0' * 64}": "does not exist",
        "explode?model=churn": "there is no page /console/actions/explode",
    }.items():
        assert said in await words(path), path
    assert "Show what would happen" in await words("load?model=churn")


async def test_a_form_needs_a_reason_and_what_the_page_showed(world: World) -> None:
    browser = await world.browser("operate:churn")
    form = await browser.form(address("abort"))
    asked_again = await browser.submit(form, {"reason": "  "})
    assert asked_again.status == 400
    assert "Say why" in asked_again.body.decode()
    assert form.fields["request"] in asked_again.body.decode()
    for wrong in ({"expected_plan": ""}, {"expected_plan": "x"}, {"request": ""}, {"reason": "r" * 501}, {"model": ""}):
        assert (await browser.submit(form, {"reason": "r", **wrong})).status == 400, wrong
    assert (await browser.submit(form, {f"more{n}": "x" for n in range(40)})).status == 400
    huge = await browser.send(
        "POST",
        form.action,
        b"a" * 20_000,
        content_type="application/x-www-form-urlencoded",
        origin="http://localhost:8000",
    )
    assert huge.status == 400
    assert (await browser.send("PUT", form.action)).status == 405
    assert world.metadata.plans.plan_numbers()["churn"] == 4


async def test_a_link_gives_no_reason_and_names_no_order(world: World) -> None:
    browser = await world.browser("operate:churn")
    done = await browser.form(address("pause"))
    assert (await browser.submit(done, {"reason": "r"})).status == 303
    link = f"{address('pause')}&request={done.fields['request']}&reason=because"
    form = await browser.form(link)
    assert form.fields["request"] != done.fields["request"], "else the order would count as done before"
    assert form.fields["reason"] == ""


async def test_no_other_site_acts_for_a_person(world: World) -> None:
    browser = await world.browser("operate:churn")
    form = await browser.form(address("abort"))
    other = await world.browser("operate:churn", name="bob")
    foreign = (await other.form(address("abort"))).fields["csrf"]
    for fields, headers in (
        ({"csrf": ""}, {}),
        ({"csrf": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")}, {}),
        ({"csrf": foreign}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"origin": "null"}),
        ({}, {"sec_fetch_site": "cross-site"}),
        ({}, {"sec_fetch_site": "same-site"}),
        ({}, {"content_type": "text/plain"}),
    ):
        reply = await browser.submit(form, {"reason": "r", **fields}, **headers)
        assert reply.status == 403, (fields, headers)
    login = await Browser(world.gateway).form("/console/login")
    assert (await Browser(world.gateway).submit(login, {"key": world.key("operate:*")})).status == 403, "no cookie"
    out = Form("post", "/console/logout", {"csrf": foreign})
    assert (await browser.submit(out)).status == 403
    assert (await browser.submit(form, {"reason": "r"})).status == 303, "still signed in"


async def test_the_cookie_is_the_browsers_alone(world: World) -> None:
    browser, text = Browser(world.gateway), world.key("operate:churn")
    form = await browser.form("/console/login?next=/console/models/churn")
    before = dict(browser.cookies)
    reply = await browser.submit(form, {"key": text})
    assert (reply.status, reply.headers["location"]) == (303, "/console/models/churn")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie
    assert text not in cookie
    assert set(browser.cookies.values()) & set(before.values()) == set(before.values())
    assert reply.headers["cache-control"] == "no-store"
    secure = await browser.submit(form, {"key": text}, x_forwarded_proto="https")
    assert "Secure" in secure.headers["set-cookie"]
    page = (await browser.get("/console")).body.decode()
    assert "Sign out" in page
    assert text not in page
    (out,) = [one for one in read(await browser.get("/console")).forms if "logout" in one.action]
    held = dict(browser.cookies)
    assert (await browser.submit(out)).status == 303
    browser.cookies = held
    assert "Sign out" not in (await browser.get("/console")).body.decode(), "signed out on the server, too"
    for elsewhere in ("https://evil.example", "//evil.example", "/consoleevil", "/console/\\evil", "/v2", "/console/€"):
        reply = await browser.submit(form, {"key": text, "next": elsewhere})
        assert reply.headers["location"] == "/console", elsewhere


async def test_wrong_keys_are_bounded_and_lock_out_nobody_else(world: World) -> None:
    text, other = world.key("operate:churn"), world.key("read:*", name="bob")
    browser = Browser(world.gateway)
    form = await browser.form("/console/login")
    statuses = [(await browser.submit(form, {"key": text[:-1]})).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert (await Browser(world.gateway).sign_in(text)).status == 303, "who knows the id does not lock the owner out"
    for number in range(12):
        await browser.submit(form, {"key": f"rml_{number:012x}_guess"})
    assert (await browser.submit(form, {"key": "nonsense"})).status == 429
    assert (await browser.submit(form, {"key": other})).status == 303
    counts = {one["kind"]: one["count"] for one in await world.refused()}
    assert counts == {"wrong_secret": 12, "unknown_key": 13}


async def test_an_expired_key_opens_no_session(world: World) -> None:
    from raymlops.clock import SystemClock

    browser = Browser(world.gateway)
    assert (
        await browser.sign_in(world.key("read:*", expires_at=SystemClock().now() - timedelta(seconds=1)))
    ).status == 401


async def test_where_keys_are_required_a_key_reads_its_own_model(guarded: World) -> None:
    nobody = Browser(guarded.gateway)
    for path in ("", "/models", "/models/churn", "/ledger", "/actions/abort?model=churn"):
        assert (await nobody.get(f"/console{path}")).status == 401, path
    assert "Sign in" in (await nobody.get("/console")).body.decode()
    narrow, reader = await guarded.browser("read:churn"), await guarded.browser("read:*", name="bob")
    callers = await guarded.browser("infer:*", "label:*", "trigger:churn", name="eve")
    assert narrow.landed == "/console/models/churn"
    assert reader.landed == "/console"
    assert '<a href="/console/models/churn">churn</a>' in (await narrow.get("/console")).body.decode()
    statuses = {
        path: [(await one.get(f"/console{path}")).status for one in (narrow, reader, callers)]
        for path in (
            "",
            "/models/churn",
            "/models/delay",
            "/ledger",
            "/actions/abort?model=churn",
            "/actions/abort?model=delay",
        )
    }
    assert statuses == {
        "": [200, 200, 403],
        "/models/churn": [200, 200, 403],
        "/models/delay": [404, 200, 403],
        "/ledger": [200, 200, 403],
        "/actions/abort?model=churn": [200, 200, 403],
        "/actions/abort?model=delay": [403, 200, 403],
    }


async def test_refusals_are_counted_on_the_event_loop(guarded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, threads = await guarded.browser("read:churn"), []
    note = guarded.refusals.note

    def noted(*args: Any) -> None:
        threads.append(threading.current_thread())
        note(*args)

    monkeypatch.setattr(guarded.refusals, "note", noted)
    assert (await narrow.get("/console/system")).status == 403
    assert (await narrow.get("/console/models/delay")).status == 404
    assert (await Browser(guarded.gateway).get("/console/ledger")).status == 401
    assert (await Browser(guarded.gateway).get("/console/static/console.css")).status == 200
    assert threads == [threading.current_thread()] * 3


async def test_without_keys_no_foreign_name_reads_the_pages(world: World, guarded: World) -> None:
    """A site whose name leads to 127.0.0.1 for a moment is of the same origin for a browser."""
    browser = Browser(world.gateway)
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "raymlops.localhost", ""):
        assert (await browser.get("/console/ledger", host=host)).status == 200, host
    for host in ("evil.example:8000", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", "a\x01"):
        for path in ("/console/ledger", "/console/login", "/console/actions/pause?model=churn"):
            assert (await browser.get(path, host=host)).status == 403, (host, path)
    reader = await guarded.browser("read:*")
    assert (await reader.get("/console/ledger", host="console.example")).status == 200, "keys are asked for"


async def test_a_page_does_not_wait_for_an_operator_that_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(world.operations, "preview", hangs)
    monkeypatch.setattr(world.console._desk, "_deadline_s", 0.2)
    reply = await asyncio.wait_for((await world.browser()).get(address("abort")), 20)
    assert reply.status == 503
    assert "did not answer within 0.2 s" in reply.body.decode()
