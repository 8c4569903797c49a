"""Access control by API keys and their scopes."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from raymlops.errors import Forbidden, Unauthenticated, UnavailableError
from raymlops.records.keys import ApiKey, Scope, split_key

__all__ = ["CLOSED", "OPEN", "Access"]

_NOBODY = "0" * 64


class Access:
    """The keys that are valid. Immutable: replaced as a whole when keys are made or revoked.

    Args:
        keys: All keys; those revoked open nothing.
        required: Whether a key is asked for at all.
    """

    def __init__(self, keys: Iterable[ApiKey] = (), *, required: bool = True) -> None:
        self._keys = {key.id: key for key in keys if key.revoked_at is None}
        self._required = required

    def check(self, headers: Mapping[str, str], scope: Scope) -> ApiKey | None:
        """Let a request pass, or say why not.

        Args:
            headers: Of the request, names in lower case; ``authorization: Bearer KEY`` is read.
            scope: What the request needs.

        Returns:
            The key; ``None`` where none is asked for.

        Raises:
            Unauthenticated: There is no key, or it is not valid; which of the two is not told apart.
            Forbidden: The key is valid, and does not cover the scope.
        """
        if not self._required:
            return None
        scheme, _, text = headers.get("authorization", "").partition(" ")
        found = split_key(text.strip()) if scheme.lower() == "bearer" else None
        identifier, digest = found or ("", _NOBODY)
        key = self._keys.get(identifier)
        # compared also where there is no such key, so that the time taken tells nothing
        equal = hmac.compare_digest(digest, key.digest if key is not None else _NOBODY)
        if key is None or not equal:
            raise Unauthenticated("a valid API key is needed: send it as 'Authorization: Bearer KEY'")
        if not key.allows(scope):
            raise Forbidden(f"the key {key.name!r} has the scopes {list(key.scopes)}, {scope!r} is needed", key=key.id)
        return key


OPEN = Access(required=False)
"""Asks nobody for a key: for loopback."""


class _Closed(Access):
    """Refuses every request."""

    def check(self, headers: Mapping[str, str], scope: Scope) -> None:
        del headers, scope
        raise UnavailableError("the endpoint is being stopped")


CLOSED = _Closed()
"""Lets nobody in any more: for an endpoint that is being stopped."""
