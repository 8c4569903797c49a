"""``raymlops delivery ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raymlops import building
from raymlops.cli.feature_store.definitions import fault_lines
from raymlops.cli.output import ConfigOption, JsonOption, one_line_errors, platform, printable, show, show_json
from raymlops.clock import SystemClock
from raymlops.config.reading.loader import load_config
from raymlops.delivery.environment import verify_here
from raymlops.delivery.packages.wheels import WHEELS, install_wheels
from raymlops.delivery.project import read_project
from raymlops.delivery.provenance import create_key
from raymlops.delivery.verify import lock_file, verify_bundle
from raymlops.errors import ConfigError
from raymlops.records.names import check_digest
from raymlops.runtime.cluster.people import acting_user

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
    wheels: Annotated[bool, typer.Option(help="Carry the wheels of the lock: installing them needs no index.")] = False,
    offline: Annotated[bool, typer.Option(help="Ask no index for the hashes of the lock.")] = False,
    config: ConfigOption = None,
) -> None:
    """Check and test a project and build its immutable bundle. Needs no running platform."""
    how = {"allow_dirty": allow_dirty, "wheels": wheels, "offline": offline}
    try:
        manifest = building.build_project(load_config(config), SystemClock(), project, by=acting_user(), key=key, **how)
    except ConfigError as error:
        lines = fault_lines(error)
        if not lines:
            raise
        typer.echo("\n".join(["error: nothing was built", *map(printable, lines)]), err=True)
        raise typer.Exit(1) from error
    if manifest.lock_from == "installed":
        told = "the lock names what is installed, without the hashes of an index: none was asked, or none answered"
        typer.echo(f"note: {told}", err=True)
    told_fields = {"digest", "tests", "checks", "built_at", "source", "lock_from", "byproducts"}
    show_json(manifest.model_dump(mode="json", include=told_fields))


@app.command()
@one_line_errors
def check(project: Path, json: JsonOption = False) -> None:
    """Run the checks that every project gets: features, sample, steps, model. Needs no running platform."""
    read_project(project)
    results = building.check_behaviour(project)
    rows = [each.model_dump(mode="json") for each in results]
    told = [
        {**row, "evidence": f"{row['evidence']}; {row['remedy']}" if row.get("remedy") else row["evidence"]}
        for row in rows
    ]
    show(rows if json else told, ["name", "outcome", "seconds", "evidence"], as_json=json)
    if any(each.outcome == "failed" for each in results):
        raise typer.Exit(1)


@app.command()
@one_line_errors
def lock(project: Path) -> None:
    """Write a project's requirements.lock, with the hashes of the index: builds everywhere then have the same one."""
    read_project(project)
    typer.echo(building.lock_directory(project))


@app.command()
@one_line_errors
def install(
    bundle: str,
    python: Annotated[Path, typer.Option(help="Interpreter of the environment.")] = Path(sys.executable),
    config: ConfigOption = None,
) -> None:
    """Install the packages of a bundle from the wheels that it carries; no index is asked."""
    check_digest("bundle", bundle)
    place = load_config(config).home / "bundles" / bundle
    install_wheels(place / WHEELS, lock_file(place, verify_bundle(place)), python)
    show_json({"digest": bundle, "installed": str(python)})


@app.command()
@one_line_errors
def verify(bundle: str, config: ConfigOption = None) -> None:
    """Check every hash of a bundle, and its packages against what is installed. Needs no running platform."""
    show_json({"digest": verify_here(load_config(config).home / "bundles", bundle).digest, "verified": True})


@app.command()
@one_line_errors
def approve(
    bundle: str,
    by: Annotated[str | None, typer.Option(help="Who approves, without a key: a word in the ledger.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the API key of who approves.")] = None,
    env: _Environment = None,
    config: ConfigOption = None,
) -> None:
    """Approve a bundle for an environment that asks for it; rules count who shows a key."""
    key = None if key_file is None else _read_api_key(key_file)
    with platform(config) as connected:
        show_json(connected.delivery.approve(bundle, env, by=by, key=key))
    if key is None:
        typer.echo(
            "note: no key was shown (--key-file): the name counts only while nobody has a key to approve with", err=True
        )


def _read_api_key(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"API key {file} cannot be read: {error}") from error


@app.command()
@one_line_errors
def deploy(
    bundle: str,
    env: _Environment = None,
    reason: str = "",
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="Run its pipeline and ask its model before it is served, whatever the environment asks."
        ),
    ] = False,
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
