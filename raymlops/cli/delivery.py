"""``raymlops delivery ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.feature_store.definitions import fault_lines
from raymlops.cli.output import ConfigOption, JsonOption, one_line_errors, platform, printable, show, show_json
from raymlops.delivery import create_key
from raymlops.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Bundles and environments.")
_Environment = Annotated[str | None, typer.Option("--env", help="Environment; left out, the platform's own.")]


@app.command()
@one_line_errors
def build(
    project: Path,
    allow_dirty: Annotated[
        bool, typer.Option(help="Build files that differ from the commit; the bundle says so.")
    ] = False,
    key: Annotated[Path | None, typer.Option(help="Private key to sign with; see `keygen`.")] = None,
    config: ConfigOption = None,
) -> None:
    """Test a project and build its immutable bundle."""
    with platform(config) as connected:
        try:
            manifest = connected.delivery.build(project, allow_dirty=allow_dirty, key=key)
        except ConfigError as error:
            lines = fault_lines(error)
            if not lines:
                raise
            typer.echo("\n".join(["error: nothing was built", *map(printable, lines)]), err=True)
            raise typer.Exit(1) from error
    show_json(manifest.model_dump(mode="json", include={"digest", "tests", "built_at", "source"}))


@app.command()
@one_line_errors
def verify(bundle: str, config: ConfigOption = None) -> None:
    """Check every hash of a bundle."""
    with platform(config) as connected:
        show_json({"digest": connected.delivery.verify(bundle).digest, "verified": True})


@app.command()
@one_line_errors
def approve(
    bundle: str,
    by: Annotated[str, typer.Option(help="Who approves.")],
    env: _Environment = None,
    config: ConfigOption = None,
) -> None:
    """Approve a bundle for an environment that asks for it."""
    with platform(config) as connected:
        show_json(connected.delivery.approve(bundle, env, by=by))


@app.command()
@one_line_errors
def deploy(
    bundle: str,
    env: _Environment = None,
    reason: str = "",
    rehearse: Annotated[
        bool | None,
        typer.Option(help="Run its pipeline and ask its model before it is served; left out, as the environment says."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Deploy a bundle in an environment; what changes is shown first."""
    with platform(config) as connected:
        for line in connected.delivery.changes(bundle, env).lines:
            typer.echo(printable(line), err=True)
        if not dry_run:
            show_json(connected.delivery.deploy(bundle, env, reason=reason, rehearse=rehearse))


@app.command()
@one_line_errors
def rollback(
    pipeline: Annotated[str | None, typer.Argument(help="Left out where the environment has one.")] = None,
    env: _Environment = None,
    reason: str = "rolled back",
    config: ConfigOption = None,
) -> None:
    """Deploy the bundle that was live before the present one."""
    with platform(config) as connected:
        show_json(connected.delivery.rollback(env, pipeline, reason=reason))


@app.command()
@one_line_errors
def keygen(file: Path) -> None:
    """Create a key that bundles are signed with; print its public key, which environments can trust."""
    typer.echo(create_key(file))


@app.command()
@one_line_errors
def environments(json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the live bundle of each environment."""
    with platform(config) as connected:
        show(connected.delivery.environments(), ["environment", "bundle", "version", "at", "reason"], as_json=json)
