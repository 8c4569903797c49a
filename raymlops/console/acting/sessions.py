"""Sessions of people in a browser: a random id in a cookie, a record in this process, and a token in every form."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from raymlops.console import PREFIX
from raymlops.console.sight import Sight
from raymlops.errors import Forbidden, Overloaded
from raymlops.records.serving.keys import ALL_ENVIRONMENTS, ALL_MODELS, ApiKey, Scope
from raymlops.serving.protocol.access import Access

__all__ = ["LoginLimit", "Session", "Sessions", "Viewer", "require_own_form"]

_IDLE_S, _LONGEST_S = 3600.0, 12 * 3600.0
"""A session ends after so long without a request, and so long after its beginning."""
_MOST, _MOST_OF_A_KEY = 1000, 20
"""Sessions in all, and of one key; the oldest make room."""
_LOGIN_S = 600.0
_FAILED_LOGINS, _WITHIN_S = 10, 60.0
_OWN_SITES = ("same-origin", "none")


@dataclass
class Session:
    """One person in one browser.

    Attributes:
        shown: The key that was shown; whether it is still valid is asked at each request.
        token: The secret in every form of this session, which no other site knows.
        began_s: When it began, in monotonic seconds.
        seen_s: When it was last used.
    """

    shown: ApiKey
    token: str
    began_s: float
    seen_s: float


@dataclass(frozen=True)
class Viewer:
    """The viewer of a page.

    Attributes:
        access: The keys, and whether reading needs one.
        key: The key of the session, or of the request's header.
        session: The viewer's session; without one, no action is possible.
    """

    access: Access
    key: ApiKey | None = None
    session: Session | None = None

    def may(self, scope: Scope, target: str = ALL_MODELS) -> bool:
        """Whether the viewer may do something about a model or an environment; where no key is needed, all may read."""
        if self.key is None:
            return scope == "read" and not self.access.required
        return self.key.allows(scope, target) or (scope == "read" and not self.access.required)

    @property
    def sight(self) -> Sight:
        """The sight of the viewer."""
        grants = () if self.key is None else self.key.grants
        named = {grant.target for grant in grants} - {ALL_MODELS, ALL_ENVIRONMENTS}
        targets = tuple(sorted(name for name in named if self.may("read", name)))
        return Sight(self.may("read"), partial(self.may, "read"), targets)

    @property
    def reads(self) -> bool:
        """Whether the viewer may read anything at all."""
        grants = () if self.key is None else self.key.grants
        return self.may("read") or any(self.may("read", grant.target) for grant in grants)


class Sessions:
    """The sessions of this process, of which a restart leaves none. Belongs to one event loop.

    Args:
        port: Of the platform: browsers send cookies of a host to all of its ports, where other platforms may be.
        time_s: Monotonic seconds.
    """

    def __init__(self, port: int, time_s: Callable[[], float] = time.monotonic) -> None:
        self._cookie, self._login_cookie = f"raymlops-{port}", f"raymlops-{port}-login"
        self._time_s = time_s
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, key: ApiKey, headers: Mapping[str, str]) -> str:
        """Begin a session of a key.

        Returns:
            The ``set-cookie`` header.
        """
        now, text = self._time_s(), secrets.token_urlsafe(32)
        # many sign-ins with one key must not end the sessions of other keys
        own = [identity for identity, session in reversed(self._sessions.items()) if session.shown.id == key.id]
        for identity in own[_MOST_OF_A_KEY - 1 :]:
            del self._sessions[identity]
        while len(self._sessions) >= _MOST:
            self._sessions.popitem(last=False)
        self._sessions[_digest(text)] = Session(key, secrets.token_urlsafe(32), now, now)
        return _set_cookie(self._cookie, text, _LONGEST_S, headers)

    def end(self, headers: Mapping[str, str]) -> str:
        """Forget the session of a request; returns the ``set-cookie`` header."""
        self._sessions.pop(_digest(_cookies(headers).get(self._cookie, "")), None)
        return _set_cookie(self._cookie, "", 0, headers)

    def viewer(self, headers: Mapping[str, str], access: Access) -> Viewer:
        """The viewer of a request: the holder of the session's key while it is valid, else of the header's, else none.

        Raises:
            Unauthenticated: The header holds a key that is not valid.
        """
        identity = _digest(_cookies(headers).get(self._cookie, ""))
        session, now = self._sessions.get(identity), self._time_s()
        if session is not None:
            # a key that was just made is not among those of the last poll; none is ever removed
            key = access.find(session.shown.id, session.shown)
            if key is None or now - session.seen_s > _IDLE_S or now - session.began_s > _LONGEST_S:
                del self._sessions[identity]
            else:
                session.seen_s = now
                self._sessions.move_to_end(identity)
                return Viewer(access, key, session)
        return Viewer(access, access.bearer(headers) if access.required and "authorization" in headers else None)

    def begin_login(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """A token for the form of a person without a session, and the ``set-cookie`` header that proves it."""
        token = _cookies(headers).get(self._login_cookie) or secrets.token_urlsafe(32)
        return token, _set_cookie(self._login_cookie, token, _LOGIN_S, headers)

    def login_token(self, headers: Mapping[str, str]) -> str:
        """The token that the form of a login must hold; empty where the browser got no form."""
        return _cookies(headers).get(self._login_cookie, "")


class LoginLimit:
    """Bounds how often keys are tried: ten wrong ones a minute under the id of a key, and under unknown ids together.

    Args:
        time_s: Monotonic seconds.
    """

    def __init__(self, time_s: Callable[[], float] = time.monotonic) -> None:
        self._time_s = time_s
        self._failed: dict[str, list[float]] = {}

    def require_room(self, name: str) -> None:
        """Raises ``Overloaded`` where too many wrong keys were shown under a name."""
        recent = [at for at in self._failed.get(name, ()) if self._time_s() - at < _WITHIN_S]
        self._failed[name] = recent
        if not recent:
            del self._failed[name]
        if len(recent) >= _FAILED_LOGINS:
            raise Overloaded(f"{_FAILED_LOGINS} wrong keys were shown within {_WITHIN_S:g} s: wait a minute")

    def failed(self, name: str) -> None:
        """Count a wrong key that was shown under a name."""
        self._failed.setdefault(name, []).append(self._time_s())


def require_own_form(headers: Mapping[str, str], wanted: str, given: str) -> None:
    """Refuse a form that no page of this console sent.

    Raises:
        Forbidden: It comes from another site, or does not hold the token that was given to this browser.
    """
    origin = headers.get("origin")
    same = origin is None or origin.partition("://")[2] == headers.get("host", "")
    if not same or headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise Forbidden("the form must come from this console, and came from another site")
    if not wanted or not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogatepass")):
        raise Forbidden("the form is not of this session: go back, load the page again, and send it once more")


def _digest(text: str) -> str:
    """Hash by which a session is kept, so that no cookie is found in the process's memory or in a dump of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    # by hand: the standard library stops at the first cookie of another application that it does not like
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}


def _set_cookie(name: str, value: str, max_age_s: float, headers: Mapping[str, str]) -> str:
    # a proxy that speaks TLS says so; without TLS a browser would not send a secure cookie back
    secure = "; Secure" if headers.get("x-forwarded-proto") == "https" else ""
    return f"{name}={value}; Path={PREFIX}; Max-Age={max_age_s:.0f}; HttpOnly; SameSite=Strict{secure}"
