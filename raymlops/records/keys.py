"""API keys: who may ask a prediction service for what."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import Field

from raymlops.records.names import check_label
from raymlops.records.record import Instant, Record

__all__ = ["ApiKey", "KeyStore", "Scope", "new_key", "split_key"]

Scope = Literal["infer", "label", "trigger", "operate", "admin"]
"""``infer``: predictions and metadata. ``label``: labels. ``trigger``: ask for retrainings. ``operate``: change what is
served. ``admin``: everything."""

_PREFIX = "rml"
_SECRET_BYTES = 32


class ApiKey(Record):
    """A key as it is kept: its secret is known to nobody but its owner."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=100)
    """Whose it is, for people."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hex SHA-256 of the secret, which is random and long: no salt, and no slow hash, is needed."""
    created_at: Instant
    revoked_at: Instant | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key's scopes cover ``scope``."""
        return scope in self.scopes or "admin" in self.scopes


def new_key(name: str, scopes: Sequence[Scope], at: datetime) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        What is kept, and the text for its owner: it cannot be had again.

    Raises:
        ConfigError: The name is no printable text.
    """
    check_label("name of an API key", name)
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    key = ApiKey(id=identifier, name=name, scopes=tuple(dict.fromkeys(scopes)), digest=digest, created_at=at)
    return key, f"{_PREFIX}_{identifier}_{secret}"


def split_key(text: str) -> tuple[str, str] | None:
    """Id of a key's text and the digest of its secret; ``None`` where it is no key."""
    prefix, first, rest = text.partition("_")
    identifier, second, secret = rest.partition("_")
    if prefix != _PREFIX or not (first and second and secret):
        return None
    return identifier, hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class KeyStore(Protocol):
    """API keys."""

    def put_key(self, key: ApiKey) -> ApiKey:
        """Record a key; where its id is known, the key as it stands is returned.

        Raises:
            AlreadyRegistered: Another key has this id.
        """
        ...

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key open nothing any more; one that was revoked before stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def list_keys(self) -> list[ApiKey]:
        """All keys, those revoked among them, in the order they were made."""
        ...
