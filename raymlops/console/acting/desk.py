"""The desk: people sign in, see what an action would change, give a reason, and send the order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from raymlops.console import PREFIX
from raymlops.console.acting.actions import ACTIONS, Action, Form, read_form
from raymlops.console.acting.consequences import changes_between, lost_by, roles_of
from raymlops.console.acting.sessions import LoginLimit, Sessions, Viewer, require_own_form
from raymlops.console.request import Page, url
from raymlops.console.sources import Sources
from raymlops.delivery.admission.approval import approvers
from raymlops.errors import (
    ConfigError,
    ConflictError,
    DataError,
    Forbidden,
    NotFoundError,
    RaymlopsError,
    StaleWrite,
    Unauthenticated,
    UnavailableError,
)
from raymlops.records.ledger import RETRAIN_ORDER, LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.keys import ALL_MODELS, split_key
from raymlops.serving.front.operations import USED, Operations, Requested
from raymlops.serving.front.orders import scope_of
from raymlops.serving.protocol.http import HttpRequest
from raymlops.serving.protocol.open_inference import check_id

__all__ = ["Desk", "Shown"]

T = TypeVar("T")
_MAX_BODY_BYTES = 16 << 10
_MOST_FIELDS = 20
_REQUEST_CHARS = 64
_NEWEST = 100
"""Plans, and entries about a subject, that are read: a person's own action is among the newest."""


class Shown(NamedTuple):
    """A page with its status, or a way to another page.

    Attributes:
        page: The page; ``None`` where the browser is redirected.
        status: As HTTP has it.
        headers: Beside those of every page.
    """

    page: Page | None
    status: int = 200
    headers: Mapping[str, str] = {}


class Desk:
    """Takes the forms of the console. Belongs to one event loop.

    Every action is an order to ``Operations``, as over HTTP: what it may and what it does is decided there.

    Args:
        sources: The sources of previews.
        operations: Carries orders out.
        sessions: The people who are signed in.
        pool: Runs calls that block.
        deadline_s: Of one such call.
    """

    def __init__(
        self, sources: Sources, operations: Operations, sessions: Sessions, pool: Executor, deadline_s: float
    ) -> None:
        self._sources = sources
        self._operations = operations
        self._sessions = sessions
        self._pool = pool
        self._deadline_s = deadline_s
        self._limit = LoginLimit()

    @staticmethod
    def takes(path: str) -> bool:
        """Whether a path below the console's own is the desk's."""
        return path in {"login", "logout"} or path.startswith("actions/")

    async def handle(self, request: HttpRequest, path: str, viewer: Viewer) -> Shown:
        """Answer a request.

        Raises:
            RaymlopsError: The action cannot be carried out; the message says why.
        """
        if request.method not in {"GET", "HEAD", "POST"}:
            return Shown(_told("Not so", f"forms take GET and POST, got {request.method}"), 405, {"allow": "GET, POST"})
        posted = _fields(request) if request.method == "POST" else None
        if path == "login":
            return await self._login(request, viewer, posted)
        if path == "logout":
            return self._logout(request, viewer, posted)
        name = path.removeprefix("actions/")
        if name.startswith("done/"):
            return await self._done(name.removeprefix("done/"), viewer, request)
        action = ACTIONS.get(name)
        if action is None:
            raise NotFoundError(f"there is no page {PREFIX}/{path}")
        if posted is None:
            # a link may choose the action; the reason and the order's id come from the form alone
            chosen = {action.about, *action.fields}
            form = read_form(action, {name: text for name, text in _query(request).items() if name in chosen})
            _require_reader(viewer, form, request)
            return await self._preview(form, viewer, request)
        return await self._act(action, viewer, request, posted)

    async def _login(self, request: HttpRequest, viewer: Viewer, posted: Mapping[str, str] | None) -> Shown:
        if posted is None:
            return self._login_page(request, _query(request).get("next", ""), "", 200)
        after = posted.get("next", "")
        require_own_form(request.headers, self._sessions.login_token(request.headers), posted.get("csrf", ""))
        text = posted.get("key", "").strip()
        access = await self._operations.access()
        identifier = (split_key(text) or ("",))[0]
        name = "" if access.find(identifier) is None else identifier
        try:
            key = access.authenticate(text)
        except Unauthenticated:
            # a right key does not have to wait: its id is no secret, and anybody may send wrong keys under it
            self._limit.require_room(name)
            self._limit.failed(name)
            return self._login_page(request, after, "This key is not valid: it is wrong, revoked or expired.", 401)
        place, models = _own_place(after), Viewer(viewer.access, key).sight.models
        if place == url() and models and not Viewer(viewer.access, key).may("read"):
            place = url("models", models[0])  # a person who may read a few models only begins with one of them
        return _to(place, **{"set-cookie": self._sessions.begin(key, request.headers)})

    def _login_page(self, request: HttpRequest, after: str, problem: str, status: int) -> Shown:
        token, cookie = self._sessions.begin_login(request.headers)
        values = {"csrf": token, "next": _own_place(after), "problem": problem}
        return Shown(Page("acting/login", "Sign in", values), status, {"set-cookie": cookie})

    def _logout(self, request: HttpRequest, viewer: Viewer, posted: Mapping[str, str] | None) -> Shown:
        if posted is None:
            return _to(url())
        if viewer.session is not None:
            require_own_form(request.headers, viewer.session.token, posted.get("csrf", ""))
        return _to(url("login"), **{"set-cookie": self._sessions.end(request.headers)})

    async def _preview(
        self, form: Form, viewer: Viewer, request: HttpRequest, *, problem: str = "", status: int = 200
    ) -> Shown:
        """Preview of an action, with a form for people who may order it."""
        values: dict[str, Any] = {
            "action": form.action,
            "name": form.name,
            "fields": {field: form.fields.get(field, "") for field in form.action.fields},
            "reason": form.fields.get("reason", ""),
            "missing": form.missing,
            "problem": problem,
            "scope": scope_of(form.action.name),
            "target": form.target,
            "allowed": viewer.session is not None and viewer.may(scope_of(form.action.name), form.target),
            "csrf": "" if viewer.session is None else viewer.session.token,
            "request": form.fields.get("request") or uuid4().hex,
            "login": url("login", next=f"{request.path}?{urlencode(_address(form))}"),
            "changes": [],
            "roles": [],
            "lost": [],
            "facts": {},
            "expected_plan": None,
            "refused": "",
        }
        if not form.missing:
            values |= await self._plan_preview(form)
        return Shown(Page("acting/action", f"{form.action.title}: {form.name}", values), status)

    async def _plan_preview(self, form: Form) -> dict[str, Any]:
        if form.action.about == "environment":
            return {"facts": await self._call(self._bundle_facts, form), "lost": lost_by(form.action.name, None, None)}
        before = None
        if form.name != ALL_MODELS:
            before = await self._call(self._sources.metadata.plans.find_plan, form.name)
        if not form.action.makes_plan:
            if form.name != ALL_MODELS and (before is None or not before.served):
                return {"refused": f"model {form.name!r} is not deployed"}
            facts = await self._call(self._standing, form.name)
            return {"facts": facts, "lost": lost_by(form.action.name, None, None)}
        try:
            after = await self._in_time(self._operations.preview(form.action.name, form.name, form.given()))
        except (ConfigError, ConflictError, DataError, NotFoundError) as error:
            return {"refused": str(error), "roles": [] if before is None else roles_of(before)}
        return {
            "changes": changes_between(before, after),
            "roles": roles_of(after),
            "lost": lost_by(form.action.name, before, after) if before is not None else [],
            "expected_plan": 0 if before is None else before.number,
        }

    def _standing(self, model: str) -> dict[str, str]:
        """Status of a model, or of all, from the controller."""
        try:
            found = [status for status in self._sources.control.status() if model in {ALL_MODELS, status.model}]
        except RaymlopsError as error:  # the preview does not need it
            return {"controller": f"cannot say: {error}"}
        if model == ALL_MODELS:
            return {"models": ", ".join(status.model for status in found) or "none"}
        told = {"phase": found[0].phase.replace("_", " "), "policy": found[0].verdict.reason} if found else {}
        against = "; ".join(reason.text for reason in found[0].reasons) if found else ""
        return {**told, "stands against a retraining": against} if against else told

    def _bundle_facts(self, form: Form) -> dict[str, str]:
        digest, stores = form.fields["bundle"], self._sources.metadata
        manifest = stores.deployments.get_bundle(digest)
        source = manifest.source
        approved = approvers(digest, form.name, stores.ledger)
        return {
            "bundle": digest,
            "pipeline": manifest.project.name,
            "model": manifest.project.model,
            "built by": manifest.built_by or "not known",
            "author of its commit": "not known" if source is None else source.author,
            "tests": ", ".join(f"{count} {outcome}" for outcome, count in manifest.tests.items()),
            "approved by": ", ".join(approved) or "nobody",
            "approvals needed": str(self._sources.config.delivery.rules(form.name).approvals),
        }

    async def _act(self, action: Action, viewer: Viewer, request: HttpRequest, posted: Mapping[str, str]) -> Shown:
        if viewer.session is None or viewer.key is None:
            raise Unauthenticated("sign in with a key that may do this: your session has ended, or there was none")
        require_own_form(request.headers, viewer.session.token, posted.get("csrf", ""))
        form = read_form(action, posted)
        access = await self._operations.access()
        key = access.find(viewer.key.id)
        if key is None:  # revoked since the last poll
            raise Unauthenticated("the key of this session was revoked, or has expired")
        access.allow(key, scope_of(action.name), form.target)
        if not form.fields.get("reason"):
            return await self._preview(form, viewer, request, problem="Say why: the ledger keeps it.", status=400)
        request_id = check_id(form.fields.get("request")) or ""
        if not request_id or len(request_id) > _REQUEST_CHARS:
            raise DataError(f"request must be a name of 1 to {_REQUEST_CHARS} characters, got {request_id!r:.80}")
        more: dict[str, Any] = {"reason": form.fields["reason"]}
        if form.fields.get("expected_plan"):
            more["expected_plan"] = _plan_number(form.fields["expected_plan"])
        elif action.makes_plan:
            raise DataError("expected_plan must say which plan the page showed, got nothing")
        try:
            given = form.given(**more)
            await self._operations.carry_out(
                access, key, Requested(action.name, form.target, given, request_id, "console")
            )
        except StaleWrite:
            return await self._overtaken(form, more.get("expected_plan", 0))
        except TimeoutError:
            text = "It was not done in time. It goes on; the page of the model shows when it is."
            return Shown(_told("Under way", text, back=_subject_page(form)), 504)
        return _to(url("actions", "done", request_id, **{action.about: form.name}))

    async def _overtaken(self, form: Form, expected: int) -> Shown:
        """Page for an overtaken order: another person's change, and the way back to the present state."""
        plans = (await self._call(self._sources.metadata.browser.plan_page, form.name, None, _NEWEST))[::-1]
        newer = [plan for plan in plans if plan.number > expected]
        base = next((plan for plan in plans if plan.number == expected), None)
        entries = await self._newest_entries(form.name)
        values = {
            "action": form.action,
            "name": form.name,
            "expected": expected,
            "newer": [(plan, _who_made(plan, entries)) for plan in newer],
            "changes": changes_between(base, newer[-1]) if newer else [],
            "again": url("actions", form.action.name, **_address(form)),
        }
        return Shown(Page("acting/overtaken", f"{form.action.title}: {form.name}", values), 409)

    async def _done(self, request_id: str, viewer: Viewer, request: HttpRequest) -> Shown:
        """The ledger entry of an action."""
        query = _query(request)
        about = "environment" if "environment" in query else "model"
        form = Form(next(action for action in ACTIONS.values() if action.about == about), query.get(about, ""), query)
        _require_reader(viewer, form, request)
        entries = await self._newest_entries(form.target)
        used = [entry for entry in entries if entry.evidence.get("request") == request_id]
        used = [entry for entry in used if entry.action in {USED, RETRAIN_ORDER}]
        if not used:
            raise NotFoundError(f"no action {request_id!r:.80} is in the ledger")
        plan = await self._call(self._sources.metadata.plans.find_plan, form.name) if about == "model" else None
        asked = str(used[0].evidence.get("asked", "retrain"))
        values = {
            "entry": used[0],
            "title": ACTIONS[asked].title if asked in ACTIONS else asked,
            "name": form.name,
            "plan": plan,
            "roles": [] if plan is None else roles_of(plan),
            "back": _subject_page(form),
        }
        return Shown(Page("acting/done", "Done", values))

    async def _newest_entries(self, subject: str) -> list[LedgerEntry]:
        page = await self._call(self._sources.metadata.browser.entry_page, subject, None, None, None, _NEWEST)
        return list(page.entries)

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks, in a thread.

        Raises:
            UnavailableError: It did not answer in time.
        """
        return await self._in_time(asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args)))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await answer
        except TimeoutError as error:
            raise UnavailableError(f"the platform did not answer within {self._deadline_s:g} s") from error


def _require_reader(viewer: Viewer, form: Form, request: HttpRequest) -> None:
    if viewer.key is None:
        viewer.access.check(request.headers, "read", form.target)
    elif not viewer.may("read", form.target) and not viewer.may(scope_of(form.action.name), form.target):
        viewer.access.allow(viewer.key, "read", form.target)


def _who_made(plan: ServingPlan, entries: list[LedgerEntry]) -> str:
    """The maker of a plan, by the ledger."""
    for entry in entries:
        if entry.evidence.get("number") == plan.number and "champion" in entry.evidence:
            return str(entry.evidence.get("by") or "controller")
    return "controller"


def _subject_page(form: Form) -> str:
    if form.action.about == "environment":
        return url("delivery")
    return url() if form.name == ALL_MODELS else url("models", form.name)


def _address(form: Form) -> dict[str, str]:
    kept = {name: text for name, text in form.fields.items() if name in form.action.fields}
    return {form.action.about: form.name, **kept}


def _told(title: str, text: str, back: str | None = None) -> Page:
    return Page("told", title, {"text": text, "back": back or url()})


def _to(address: str, **headers: str) -> Shown:
    return Shown(None, 303, {"location": address, **headers})


def _own_place(address: str) -> str:
    """An address of the console; its first page where another one is named."""
    own = address == PREFIX or address.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    sent = address.isascii() and address.isprintable() and "\\" not in address and len(address) < 2000
    return address if own and sent else url()


def _plan_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise DataError(f"expected_plan must be a whole number, got {text!r:.100}")
    return int(text)


def _query(request: HttpRequest) -> dict[str, str]:
    return _parsed(request.query)


def _fields(request: HttpRequest) -> dict[str, str]:
    if len(request.body) > _MAX_BODY_BYTES:
        raise DataError(f"a form must have at most {_MAX_BODY_BYTES} bytes, got {len(request.body)}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Forbidden(f"a form must be sent as application/x-www-form-urlencoded, got {kind!r:.80}")
    return _parsed(request.body.decode("latin-1"))


def _parsed(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise DataError(f"a form must have at most {_MOST_FIELDS} fields") from error
