from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from raymlops.console import Console
from raymlops.console.routes import Route
from raymlops.records.serving.keys import new_key
from raymlops.serving.protocol.access import OPEN, Access
from raymlops.serving.protocol.http import HttpRequest
from tests.support.console_world import NOW, make_sources

if TYPE_CHECKING:
    from tests.unit.console.conftest import Browser

VENDORED = Path(str(files("raymlops.console"))) / "static" / "vendored"


def test_pages_carry_the_strict_policy(browser: Browser) -> None:
    headers = browser.reply().headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_what_is_not_there_is_a_page(browser: Browser) -> None:
    assert "there is no page /console/nope" in browser.page("nope", 404)
    assert "no such file" in browser.page("static/../app.py", 404)
    assert "<script>alert" not in browser.page("%3Cscript%3Ealert(%22x%22)%3C/script%3E", 404)


def test_pages_are_only_read(browser: Browser) -> None:
    reply = browser.console.answer(HttpRequest("POST", "/console/runs"), OPEN)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_where_keys_are_required_a_page_says_so(browser: Browser) -> None:
    key, text = new_key("ann", ["operate"], NOW)
    narrow, narrow_text = new_key("bob", ["infer"], NOW)
    access = Access([key, narrow])

    def status(**headers: str) -> int:
        return browser.console.answer(HttpRequest("GET", "/console", headers), access).status

    refused = browser.console.answer(HttpRequest("GET", "/console"), access)
    assert refused.status == 401
    assert b"<h1>A key is needed</h1>" in refused.body
    assert status(authorization=f"Bearer {narrow_text}") == 403
    assert status(authorization=f"Bearer {text}") == 200
    assert browser.console.answer(HttpRequest("GET", "/console/static/console.css"), access).status == 200


def test_a_page_says_which_part_does_not_answer(tmp_path: Path, filled: Path) -> None:
    sources, close = make_sources(tmp_path, filled=filled, dead=["controller", "reconciler"])
    console = Console(sources)
    try:
        text = console.answer(HttpRequest("GET", "/console/models"), Access(required=False)).body.decode()
    finally:
        console.close()
        close()
    assert "the controller cannot say: the controller actor is not running" in text
    assert '<a href="/console/models/churn">churn</a>' in text


def test_a_part_that_hangs_is_waited_for_until_the_deadline(tmp_path: Path, filled: Path) -> None:
    sources, close = make_sources(tmp_path, filled=filled)
    ever = Event()

    class Hanging:
        def statuses(self) -> list[object]:
            ever.wait(60)
            return []

    console = Console(replace(sources, endpoints=Hanging()), deadline_s=0.5)  # type: ignore[arg-type]
    try:
        reply = console.answer(HttpRequest("GET", "/console/models"), Access(required=False))
    finally:
        ever.set()
        console.close()
        close()
    assert reply.status == 200
    assert b"the reconciler did not answer within 0.5 s" in reply.body


@pytest.mark.asyncio
async def test_requests_beyond_a_bound_are_refused_at_once(
    tmp_path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymlops.console.app._MOST_UNDER_WAY", 2)
    sources, close = make_sources(tmp_path, filled=filled)
    may_answer = Event()

    class Slow:
        def statuses(self) -> list[object]:
            assert may_answer.wait(60)
            return []

    console = Console(replace(sources, endpoints=Slow()), deadline_s=60)  # type: ignore[arg-type]
    page = HttpRequest("GET", "/console/models")
    try:
        waiting = [asyncio.ensure_future(console.handle(page, OPEN)) for _ in range(3)]
        refused = await asyncio.wait_for(waiting[2], 20)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        may_answer.set()
        assert [(await reply).status for reply in waiting[:2]] == [200, 200]
        assert (await console.handle(page, OPEN)).status == 200
    finally:
        may_answer.set()
        console.close()
        close()


def test_what_cannot_be_foreseen_is_logged_and_told(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("raymlops.console.app.find_page", lambda path: (Route("", lambda *_: 1 / 0, "seen"), ()))
    assert "internal error" in browser.page("runs", 500)
    assert "ZeroDivisionError" in caplog.text


def test_vendored_files_are_those_of_the_packages() -> None:
    named = json.loads((VENDORED / "manifest.json").read_text())
    assert {row["file"] for row in named} == {path.name for path in VENDORED.glob("*.js")}
    for row in named:
        digest = hashlib.sha384((VENDORED / row["file"]).read_bytes()).digest()
        assert row["sha384"] == f"sha384-{base64.b64encode(digest).decode()}", row["file"]
        assert (VENDORED / row["licence_file"]).read_text().strip()


@pytest.mark.slow
def test_vendored_packages_have_the_integrity_that_npm_tells(tmp_path: Path) -> None:
    for row in json.loads((VENDORED / "manifest.json").read_text()):
        named = f"{row['package']}@{row['version']}"
        packed = subprocess.run(
            ["npm", "pack", "--json", named], cwd=tmp_path, check=True, capture_output=True, timeout=120
        )
        (told,) = json.loads(packed.stdout)
        assert told["integrity"] == row["package_integrity"]
        unpacked = subprocess.run(
            ["tar", "-xzOf", told["filename"], f"package/{row['path']}"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert unpacked.stdout == (VENDORED / row["file"]).read_bytes()


def test_no_template_holds_a_style_or_a_script_of_its_own() -> None:
    templates = [*(VENDORED.parent.parent / "templates").rglob("*.j2")]
    assert templates
    for path in templates:
        text = path.read_text()
        assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+=|hx-on|\|\s*safe", text), path.name
        for tag in re.findall(r"<script[^>]*>", text):
            assert "src=" in tag or 'type="application/json"' in tag, path.name
