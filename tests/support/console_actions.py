"""A console that acts on a real operator and a real database, and a browser without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from raymlops.clock import ManualClock
from raymlops.config.serving import ServingConfig
from raymlops.console import PREFIX, Console
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.loop.folding import ALL_MODELS
from raymlops.control.rollout.decisions import Pause, Resume
from raymlops.delivery.admission.approval import approve_bundle
from raymlops.metadata import MetadataService
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.keys import ApiKey, new_key, parse_grant
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.operations import Operations
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from raymlops.serving.protocol.refusal_log import RefusalLog
from tests.support.console_world import NOW, make_sources

__all__ = ["Browser", "Form", "World"]


class _Awaited:
    """An object whose methods are awaited, as those of an actor are."""

    def __init__(self, core: object) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        async def call(*args: object, **kwargs: object) -> Any:
            return getattr(self._core, name)(*args, **kwargs)

        return call


class _Stores:
    def __init__(self, metadata: MetadataService) -> None:
        self.keys, self.plans = _Awaited(metadata.keys), _Awaited(metadata.plans)
        self.models, self.ledger = _Awaited(metadata.models), _Awaited(metadata.ledger)


class _Runtime:
    """A cluster on which everything is up at once."""

    def is_up(self, name: str) -> bool:
        return True

    @contextmanager
    def hold(self, wanted: object) -> Any:
        yield

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


class _Switches:
    """The controller's switches, into the ledger as it writes them."""

    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata

    async def pause(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        return self._switch(Pause, model, reason, by)

    async def resume(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        return self._switch(Resume, model, reason, by)

    def _switch(self, kind: type[Pause], model: str | None, reason: str, by: str) -> LedgerEntry:
        subject = model or ALL_MODELS
        count = sum(entry.action in {"pause", "resume"} for entry in self._metadata.ledger.entries(subject))
        decision = kind(model=subject, at=NOW, reason=reason, count=count, by=by)
        evidence = decision.model_dump(mode="json", exclude={"model", "reason"})
        return self._metadata.ledger.append_entry(
            subject, decision.action, reason, evidence, key=f"switch/{count}/{subject}"
        )


class _Approvals:
    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata

    async def approve(self, bundle: str, environment: str, *, key: ApiKey, reason: str) -> LedgerEntry:
        manifest = self._metadata.deployments.get_bundle(bundle)
        return approve_bundle(manifest, environment, key.name, self._metadata.ledger, reason, key_id=key.id)


class _Plans:
    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        return self._metadata.plans.served_plans()


class _Pages:
    """The console as the gateway has it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def takes(self, path: str) -> bool:
        return path == PREFIX or path.startswith(f"{PREFIX}/")

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        return await self._console.handle(request, access)


@dataclass(frozen=True)
class Form:
    """A form as a page has it."""

    method: str
    action: str
    fields: dict[str, str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given["method"], given["action"], {}))
        elif tag == "input" and "name" in given:
            self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


class Browser:
    """Keeps cookies, follows forms, runs no script."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cookies: dict[str, str] = {}
        self.landed = ""
        """Where a sign-in led to."""

    async def send(self, method: str, address: str, body: bytes = b"", **headers: str) -> HttpReply:
        path, _, query = address.partition("?")
        sent = {"host": "localhost:8000", **{name.replace("_", "-"): text for name, text in headers.items()}}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        reply = await self.gateway.handle(HttpRequest(method, path, sent, body, query=query))
        cookie = reply.headers.get("set-cookie")
        if cookie:
            pair, _, rest = cookie.partition(";")
            name, _, value = pair.partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in rest:
                self.cookies[name] = value
        return reply

    async def get(self, address: str, **headers: str) -> HttpReply:
        return await self.send("GET", address, **headers)

    async def form(self, address: str) -> Form:
        """The form of a page that posts, beside the one that signs out."""
        reply = await self.get(address)
        assert reply.status == 200, reply.body.decode()
        (found,) = [form for form in read(reply).forms if form.method == "post" and "logout" not in form.action]
        return found

    async def submit(self, form: Form, fields: Mapping[str, str] | None = None, **headers: str) -> HttpReply:
        content = urlencode({**form.fields, **(fields or {})}).encode()
        sent: dict[str, Any] = {
            "content_type": "application/x-www-form-urlencoded",
            "origin": "http://localhost:8000",
            **headers,
        }
        return await self.send("POST", form.action, content, **sent)

    async def sign_in(self, text: str) -> HttpReply:
        return await self.submit(await self.form("/console/login"), {"key": text})


def read(reply: HttpReply) -> _Reader:
    """The forms and the words of a page."""
    reader = _Reader()
    reader.feed(reply.body.decode())
    return reader


class World:
    """A gateway with a console over a filled platform."""

    def __init__(self, home: Path, *, required: bool = False, filled: Path | None = None, delivery: Any = None) -> None:
        self.sources, self._close = make_sources(home, filled=filled)
        self.metadata: MetadataService = self.sources.metadata  # type: ignore[assignment]
        self.required = required
        self.clock = ManualClock(NOW)
        self.refusals = RefusalLog("gateway")
        runtime: Any = _Runtime()
        self.operator = EndpointOperator(ServingConfig(), self.metadata, self.clock, runtime, runtime)
        orders: Any = _Awaited(self.operator)
        stores: Any = _Stores(self.metadata)
        self.operations = Operations(
            stores,
            orders,
            10.0,
            _deadline_ms,
            controls=_Switches(self.metadata),
            delivery=delivery or _Approvals(self.metadata),
            refusals=self.refusals,
        )
        self.console = Console(self.sources, operations=self.operations)
        self.gateway = Gateway("1.2.3", _Plans(self.metadata), None, self.operations, pages=_Pages(self.console))
        self.poll()

    def poll(self) -> None:
        """The gateway learns of new and revoked keys."""
        keys = self.metadata.keys.list_keys()
        self.gateway.admit(Access(keys, required=self.required, refusals=self.refusals))

    def key(self, *grants: str, name: str = "ann", **more: Any) -> str:
        """The text of a new key."""
        key, text = new_key(name, [], NOW, grants=[parse_grant(one) for one in grants], **more)
        self.metadata.keys.put_key(key)
        self.poll()
        return text

    async def browser(self, *grants: str, name: str = "ann") -> Browser:
        """A browser that is signed in, where grants are given."""
        browser = Browser(self.gateway)
        if grants:
            reply = await browser.sign_in(self.key(*grants, name=name))
            assert reply.status == 303
            browser.landed = reply.headers["location"]
        return browser

    async def refused(self) -> list[dict[str, Any]]:
        """What the ledger was told about refused requests."""
        append: Callable[..., Any] = _Awaited(self.metadata.ledger).append_entry
        await self.refusals.tell(append)
        return [entry.evidence for entry in self.metadata.ledger.entries() if entry.action == "refuse_access"]

    def close(self) -> None:
        """End threads and close the database."""
        self.console.close()
        self._close()


async def _deadline_ms(model: str) -> float:
    del model
    return 250.0
