"""API keys: made before anything runs, and asked for wherever strangers can call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta

from raymlops.clock import SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.metadata import MetadataService
from raymlops.records.serving.keys import ApiKey, Grant, Scope, new_key
from raymlops.runtime.cluster.clocks import own_clock
from raymlops.runtime.cluster.people import acting_user
from raymlops.runtime.supervision.home_note import noted_cluster, prepare_home, running_config

__all__ = ["create_key", "list_keys", "require_keys", "revoke_key"]


def create_key(
    config: PlatformConfig,
    name: str,
    scopes: Sequence[Scope],
    reason: str = "on demand",
    *,
    grants: Sequence[Grant] = (),
    expires_after: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """Make a key, recorded in the ledger first; running endpoints know it within a poll.

    Args:
        config: The platform's configuration.
        name: The holder's name.
        scopes: Scopes that it has over all models.
        reason: Why, for the ledger.
        grants: Scopes that it has over one target.
        expires_after: How long it opens anything, by the system clock; for ever, if left out.

    Returns:
        The key, and its text, which is kept nowhere.
    """
    with _metadata(config) as metadata:
        expires_at = None if expires_after is None else SystemClock().now() + expires_after
        key, text = new_key(name, scopes, own_clock(config).now(), grants=grants, expires_at=expires_at)
        metadata.ledger.append_entry(_subject(key.id), "create_key", reason, _facts(key), key=f"create_key:{key.id}")
        return metadata.keys.put_key(key), text


def list_keys(config: PlatformConfig) -> list[ApiKey]:
    """All keys, those revoked among them."""
    with _metadata(config) as metadata:
        return metadata.keys.list_keys()


def revoke_key(config: PlatformConfig, key_id: str, reason: str = "on demand") -> ApiKey:
    """Make a key open nothing any more, recorded in the ledger first; running endpoints know it within a poll.

    Raises:
        NotFoundError: There is no such key.
    """
    with _metadata(config) as metadata:
        found = next((key for key in metadata.keys.list_keys() if key.id == key_id), None)
        if found is not None:  # a missing key is refused below
            entry_key = f"revoke_key:{key_id}"
            metadata.ledger.append_entry(_subject(key_id), "revoke_key", reason, _facts(found), key=entry_key)
        return metadata.keys.revoke_key(key_id)


def require_keys(config: PlatformConfig, host: str | None = None) -> None:
    """Refuse to serve where keys are needed and there is none.

    Args:
        config: The platform's configuration.
        host: The address that is served on; the configured one, if left out.

    Raises:
        ConfigError: Nobody could call what would be served.
    """
    host = host or config.serving.host
    now = SystemClock().now()
    if config.serving.keys_required_on(host) and not any(key.is_valid(now) for key in list_keys(config)):
        raise ConfigError(f"serving on {host} needs an API key: make one with `raymlops keys create NAME`", host=host)


def _facts(key: ApiKey) -> dict[str, object]:
    expires_at = None if key.expires_at is None else key.expires_at.isoformat()
    grants = [str(grant) for grant in key.grants]
    return {
        "name": key.name,
        "grants": grants,
        "scopes": list(key.scopes),
        "expires_at": expires_at,
        "by": acting_user(),
    }


def _subject(key_id: str) -> str:
    return f"key:{key_id}"


@contextmanager
def _metadata(config: PlatformConfig) -> Iterator[MetadataService]:
    """The database itself, beside the actor where the platform runs: the first key is needed before anything does."""
    prepare_home(config.home)
    used = config if noted_cluster(config.home) is None else running_config(config.home)
    lock_timeout_s = used.metadata.busy_timeout.total_seconds()
    with closing(MetadataService(used.metadata_url, clock=own_clock(used), lock_timeout_s=lock_timeout_s)) as opened:
        yield opened
