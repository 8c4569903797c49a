"""How a bundle differs from the one that an environment runs, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raymlops.delivery.admission.target import locked_packages
from raymlops.records.bundles import BundleManifest
from raymlops.records.features import ApplyReport
from raymlops.records.record import Record

__all__ = ["BundleChanges", "bundle_changes"]

_STEPS = ("training", "service", "spine", "task", "metric", "request_columns", "categories", "segments")
"""Keys of a project that decide what its steps do."""


class BundleChanges(Record):
    """Changes that a deployment would make."""

    bundle: str
    before: str | None
    """Digest of the bundle that runs now; ``None`` where none does."""
    definitions: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of it, one line each: ``+`` comes, ``~`` changes, ``-`` goes."""
        kinds = ("definitions", "policy", "packages", "steps", "files")
        told = [f"{kind}: {line}" for kind in kinds for line in getattr(self, kind)]
        there = "nothing" if self.before is None else f"bundle {self.before[:12]}"
        return [f"{there} -> bundle {self.bundle[:12]}", *told]


def bundle_changes(
    before: BundleManifest | None,
    after: BundleManifest,
    locks: tuple[bytes, bytes],
    definitions: ApplyReport | None,
) -> BundleChanges:
    """Compare two bundles.

    Args:
        before: The one that runs; ``None`` where none does.
        after: The one that is to run.
        locks: Of the two.
        definitions: Changes by the new bundle's definitions; ``None`` where they are not applied.
    """
    old = {} if before is None else before.project.model_dump(mode="json")
    new = after.project.model_dump(mode="json")
    steps = [line for key in _STEPS for line in _compared(_only(old, key), _only(new, key))]
    return BundleChanges(
        bundle=after.digest,
        before=None if before is None else before.digest,
        definitions=() if definitions is None else tuple(_definition_lines(definitions)),
        policy=tuple(_compared(old.get("policy") or {}, new.get("policy") or {})),
        packages=tuple(_compared(locked_packages(locks[0]), locked_packages(locks[1]))) if before is not None else (),
        steps=tuple(steps) if before is not None else (),
        files=tuple(_file_lines({} if before is None else before.files, after.files)),
    )


def _definition_lines(report: ApplyReport) -> Iterator[str]:
    yield from (f"+ {name}" for name in report.added)
    for change in report.changed:
        told = ", ".join(f"{each.attribute}: {each.old} -> {each.new}" for each in change.attributes)
        yield f"~ {change.name} {told}"


def _compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"+ {name} {new[name]}"
        elif name not in new:
            yield f"- {name} {old[name]}"
        elif old[name] != new[name]:
            yield f"~ {name} {old[name]} -> {new[name]}"


def _only(project: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: project[key]} if key in project else {}


def _file_lines(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{'+' if name not in before else '-' if name not in after else '~'} {name}"


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _leaves(each, f"{path}{name}.")
        else:
            yield f"{path}{name}", each
