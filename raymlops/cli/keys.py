"""``raymlops keys ...``."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from raymlops import runtime
from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, printable, show
from raymlops.config.loader import load_config
from raymlops.errors import ConfigError
from raymlops.records.keys import Scope

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="API keys of the prediction service.")

_Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]
_SCOPES = get_args(Scope)


@app.command()
@one_line_errors
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="infer, label, trigger, operate or admin; may be repeated.")
    ] = None,
    reason: _Reason = "on demand",
    config: ConfigOption = None,
) -> None:
    """Create a key and print it once; only its hash is stored."""
    scopes = scope or ["infer"]
    unknown = sorted(set(scopes) - set(_SCOPES))
    if unknown:
        raise ConfigError(f"scope must be one of {list(_SCOPES)}, got {unknown}")
    key, text = runtime.create_key(load_config(config), name, cast("list[Scope]", scopes), reason)
    typer.echo(text)
    told = f"key {key.id} of {key.name}, for {', '.join(key.scopes)}: this is the only time it is shown"
    typer.echo(printable(told), err=True)


@app.command("list")
@one_line_errors
def list_(json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the keys, without their secrets."""
    rows = [key.model_dump(mode="json", exclude={"digest"}) for key in runtime.list_keys(load_config(config))]
    show(rows, ["id", "name", "scopes", "created_at", "revoked_at"], as_json=json)


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
