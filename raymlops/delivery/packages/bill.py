"""The bill of materials (SBOM) of the environment that a bundle is tested in, as CycloneDX JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from raymlops.delivery.programs import run_program
from raymlops.errors import DataError

__all__ = ["environment_bill"]

_TIMEOUT_S = 120.0


def environment_bill() -> bytes:
    """The bill of materials of this environment by ``cyclonedx-bom``, valid by the schema: the same every time.

    References to pages on the web are left out: they say nothing of what runs, one of them may be a path of this
    machine, and the check of their syntax would take longer than all the rest.

    Raises:
        DataError: It could not be made, or is not valid.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    with tempfile.TemporaryDirectory(prefix="raymlops-bill-") as scratch:
        target = Path(scratch) / "bill.json"
        plain = ["--output-reproducible", "--of", "JSON", "--sv", "1.6", "--no-validate", "-o", str(target)]
        command = [sys.executable, "-m", "cyclonedx_py", "environment", *plain, sys.executable]
        done = run_program(command, timeout_s=_TIMEOUT_S)
        if done.code is None:
            raise DataError(f"the bill of materials was not made within {_TIMEOUT_S:g} s")
        if done.code != 0:
            told = (done.errors.strip().splitlines() or ["no output"])[-1]
            raise DataError(f"the bill of materials could not be made: {told}")
        bill: dict[str, Any] = json.loads(target.read_bytes())
    for component in [*bill.get("components", []), *bill["metadata"].get("tools", {}).get("components", [])]:
        component.pop("externalReferences", None)
    text = json.dumps(bill, indent=1, sort_keys=True)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise DataError(f"the bill of materials must be valid CycloneDX: {str(fault)[:200]}")
    return text.encode()
