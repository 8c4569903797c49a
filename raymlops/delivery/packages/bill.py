"""The bill of materials (SBOM) of the environment that a bundle is tested in, as CycloneDX JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from raymlops.errors import DataError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

__all__ = ["environment_bill"]

_LICENSE = "License :: OSI Approved :: "


def environment_bill() -> bytes:
    """The bill of materials of this environment, valid by the schema of CycloneDX 1.6: the same every time.

    It names each installed package with its version, license and package URL, and what it requires here. It has no time
    and no path of this machine. ``cyclonedx-bom`` would make it, too, but each process that imports Ray would then
    start 1 to 2 s later (ADR 0060).

    Raises:
        DataError: The bill is not valid, since a package's metadata is not.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = _installed()
    components = {name: _component(each) for name, each in found.items()}
    extras = _extras(found)
    bom = Bom(components=components.values())
    for name, each in found.items():
        needed = {canonicalize_name(one.name) for one in _requirements(each, extras[name])}
        bom.register_dependency(components[name], [components[one] for one in sorted(needed & components.keys())])
    bill: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del bill["serialNumber"], bill["metadata"]["timestamp"]  # they differ each time
    text = json.dumps(bill, indent=1, sort_keys=True)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise DataError(f"the bill of materials must be valid CycloneDX: {str(fault)[:200]}")
    return text.encode()


def _installed() -> dict[str, Distribution]:
    """Canonical name -> distribution; of two of one name, the one that is imported, which comes first on the path."""
    found: dict[str, Distribution] = {}
    for each in distributions():
        with suppress(FileNotFoundError):  # a killed installation leaves a package without metadata
            if name := each.metadata.json.get("name"):
                found.setdefault(canonicalize_name(str(name)), each)
    return dict(sorted(found.items()))


def _extras(found: Mapping[str, Distribution]) -> dict[str, set[str]]:
    """Canonical name -> the extras that some installed package asks of it."""
    asked: dict[str, set[str]] = defaultdict(set)
    for each in found.values():
        for one in map(Requirement, each.requires or ()):
            asked[canonicalize_name(one.name)] |= one.extras
    return asked


def _requirements(package: Distribution, extras: set[str]) -> Iterator[Requirement]:
    """What a package requires on this machine, with these extras of it."""
    for one in map(Requirement, package.requires or ()):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield one


def _component(package: Distribution) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{package.name}=={package.version}",
        description=str(package.metadata.json.get("summary", "")) or None,
        purl=PackageURL("pypi", None, canonicalize_name(package.name), package.version),
        licenses=_licenses(package),
    )


def _licenses(package: Distribution) -> list[License]:
    """The license as declared: an SPDX expression where there is one, else a name; none where nothing is declared."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseAcknowledgement

    told = package.metadata.json
    names = [one.removeprefix(_LICENSE) for one in told.get("classifier", ()) if one.startswith(_LICENSE)]
    text = str(told.get("license", "")).strip()
    declared = told.get("license_expression") or ", ".join(names) or ("" if "\n" in text else text)
    make = LicenseFactory().make_from_string
    return [make(str(declared), license_acknowledgement=LicenseAcknowledgement.DECLARED)] if declared else []
