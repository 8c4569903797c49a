"""``raymlops keys ...``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from raymlops import runtime
from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, printable, show
from raymlops.config.reading.loader import load_config
from raymlops.config.section import parse_duration
from raymlops.errors import ConfigError
from raymlops.records.serving.keys import ALL_MODELS, ApiKey, parse_grant

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="API keys of the prediction service.")

_LONGEST = timedelta(days=3660)
_Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


@app.command()
@one_line_errors
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="infer, label, read, trigger, operate or admin, over all models; may be repeated."),
    ] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(help="SCOPE:MODEL, SCOPE:*, SCOPE:env/NAME or SCOPE:env/*; may be repeated."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid, as 30d or 12h; for ever if left out.")
    ] = None,
    reason: _Reason = "on demand",
    config: ConfigOption = None,
) -> None:
    """Create a key and print it once; only its hash is stored."""
    scopes = scope or ([] if grant else ["infer"])
    grants = [parse_grant(text) for text in (*(f"{one}:{ALL_MODELS}" for one in scopes), *(grant or ()))]
    after = None if expires is None else _expiry(expires)
    key, text = runtime.create_key(load_config(config), name, (), reason, grants=grants, expires_after=after)
    typer.echo(text)
    until = "" if key.expires_at is None else f", until {key.expires_at.isoformat(timespec='seconds')}"
    told = f"key {key.id} of {key.name}, for {_grants(key)}{until}: this is the only time it is shown"
    typer.echo(printable(told), err=True)


@app.command("list")
@one_line_errors
def list_(json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the keys, without their secrets."""
    rows = [
        {**key.model_dump(mode="json", exclude={"digest"}), "grants": _grants(key), "scopes": key.scopes}
        for key in runtime.list_keys(load_config(config))
    ]
    show(rows, ["id", "name", "grants", "created_at", "expires_at", "revoked_at"], as_json=json)


@app.command()
@one_line_errors
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")],
    reason: _Reason = "on demand",
    config: ConfigOption = None,
) -> None:
    """Revoke a key."""
    key = runtime.revoke_key(load_config(config), key_id, reason)
    console.print(f"key {key.id} of {key.name} is revoked")


def _grants(key: ApiKey) -> str:
    return ", ".join(map(str, key.grants))


def _expiry(text: str) -> timedelta:
    try:
        after = parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--expires: {error}") from error
    if not timedelta() < after <= _LONGEST:
        raise ConfigError(f"--expires must be above zero and at most {_LONGEST.days} days, got {text!r}")
    return after
