"""Access control by API keys and their grants: the one place where a right is checked."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from raymlops.clock import Clock, SystemClock
from raymlops.errors import Forbidden, Unauthenticated, UnavailableError
from raymlops.records.serving.keys import ALL_MODELS, ApiKey, Scope, split_key
from raymlops.serving.protocol.refusal_log import RefusalKind, RefusalLog

__all__ = ["CLOSED", "DESCRIBE", "OPEN", "Access"]

_NOBODY = "0" * 64

DESCRIBE: tuple[Scope, ...] = ("infer", "read")
"""Scopes of which one is enough to read a model's metadata, its readiness and its plan."""


class Access:
    """The keys that are valid. Immutable: replaced as a whole when keys are made or revoked.

    Args:
        keys: All keys; those revoked or expired open nothing.
        required: Whether a key is asked for at all.
        refusals: Counts what is refused, for the ledger.
        clock: Tells whether a key has expired.
    """

    def __init__(
        self,
        keys: Iterable[ApiKey] = (),
        *,
        required: bool = True,
        refusals: RefusalLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._keys = {key.id: key for key in keys}
        self._required = required
        self._refusals = refusals
        self._clock = clock or SystemClock()

    @property
    def required(self) -> bool:
        """Whether callers who only predict or read need a key."""
        return self._required

    def check(
        self, headers: Mapping[str, str], scope: Scope | tuple[Scope, ...], target: str = ALL_MODELS
    ) -> ApiKey | None:
        """Let a request pass, or say why not.

        Args:
            headers: Of the request, names in lower case; ``authorization: Bearer KEY`` is read.
            scope: What the request needs; of several, one is enough.
            target: The model or environment it is about; left out, all models.

        Returns:
            The key; ``None`` where none is asked for.

        Raises:
            Unauthenticated: There is no key, or it is not valid; which of the two is not told apart.
            Forbidden: The key is valid, and has no grant of the scope over the target.
        """
        if not self._required:
            return None
        key = self.bearer(headers)
        self.allow(key, scope, target)
        return key

    def check_any(self, headers: Mapping[str, str], scope: tuple[Scope, ...]) -> Callable[[str], bool]:
        """Let a request for a list pass, where its key has a scope over anything; raises as ``check`` does.

        Returns:
            Whether an item of the list may be shown, by the model's name.
        """
        if not self._required:
            return _everything
        key = self.bearer(headers)
        held = next((grant.target for grant in key.grants if _allows(key, scope, grant.target)), ALL_MODELS)
        self.allow(key, scope, held)
        return partial(_allows, key, scope)

    def shown(self, headers: Mapping[str, str], scope: tuple[Scope, ...]) -> Callable[[str], bool]:
        """A test of model names: whether the caller of an open route may see details of that model. Raises nothing."""
        if not self._required:
            return _everything
        key, refused = self._find(_token(headers))
        return _nothing if key is None or refused is not None else partial(_allows, key, scope)

    def allow(self, key: ApiKey, scope: Scope | tuple[Scope, ...], target: str) -> None:
        """Raises ``Forbidden`` where a key has no grant of a scope over a target."""
        if _allows(key, scope, target):
            return
        needed = scope if isinstance(scope, str) else " or ".join(scope)
        self._note("forbidden", key, needed, target)
        grants = ", ".join(map(str, key.grants))
        rule = f"{needed!r} over {target!r:.200} is needed"
        raise Forbidden(f"the key {key.name!r} has the grants {grants}; {rule}", key=key.id)

    def authenticate(self, text: str) -> ApiKey:
        """The valid key that a text is of.

        Raises:
            Unauthenticated: It is of none.
        """
        key, refused = self._find(text)
        if key is None or refused is not None:
            self._note(refused or "unknown_key", key, "", "")
            raise Unauthenticated("a valid API key is needed: send it as 'Authorization: Bearer KEY'")
        return key

    def _find(self, text: str) -> tuple[ApiKey | None, RefusalKind | None]:
        """The key that a text names, and why it opens nothing."""
        identifier, digest = split_key(text) or ("", _NOBODY)
        key = self._keys.get(identifier)
        # compared also where there is no such key, so that the time taken tells nothing
        equal = hmac.compare_digest(digest, key.digest if key is not None else _NOBODY)
        if key is None:
            return None, "unknown_key" if text else "no_key"
        if not equal:
            return key, "wrong_secret"
        if not key.is_valid(self._clock.now()):
            return key, "expired_key" if key.revoked_at is None else "revoked_key"
        return key, None

    def find(self, key_id: str, newer: ApiKey | None = None) -> ApiKey | None:
        """The key of an id, while it is valid; ``newer`` where it was made after these keys were read."""
        key = self._keys.get(key_id, newer)
        return key if key is not None and key.is_valid(self._clock.now()) else None

    def bearer(self, headers: Mapping[str, str]) -> ApiKey:
        """The key of a request; raises ``Unauthenticated`` where it has no valid one."""
        return self.authenticate(_token(headers))

    def _note(self, kind: RefusalKind, key: ApiKey | None, scope: str, target: str) -> None:
        if self._refusals is not None:
            self._refusals.note(kind, key, scope, target)


def _allows(key: ApiKey, scope: Scope | tuple[Scope, ...], target: str) -> bool:
    return any(key.allows(one, target) for one in ((scope,) if isinstance(scope, str) else scope))


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _everything(target: str) -> bool:
    del target
    return True


def _nothing(target: str) -> bool:
    del target
    return False


OPEN = Access(required=False)
"""Asks nobody for a key: for loopback."""


class _Closed(Access):
    """Refuses every request."""

    def check(
        self, headers: Mapping[str, str], scope: Scope | tuple[Scope, ...], target: str = ALL_MODELS
    ) -> ApiKey | None:
        del headers, scope, target
        raise UnavailableError("the endpoint is being stopped")


CLOSED = _Closed()
"""Lets nobody in any more: for an endpoint that is being stopped."""
