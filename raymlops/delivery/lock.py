"""The packages a bundle is tested with."""

from __future__ import annotations

import re
import sysconfig
from importlib.metadata import distributions

__all__ = ["installed_lock"]


def installed_lock() -> bytes:
    """One line ``name==version`` per installed distribution, sorted.

    Only the environment's own directories count: what a process has put on its import path besides them, as Ray's
    workers do, is no part of the environment.
    """
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    names = {
        f"{re.sub(r'[-_.]+', '-', found.metadata['Name']).lower()}=={found.version}\n"
        for found in distributions(path=places)
        if found.metadata["Name"]
    }
    return "".join(sorted(names)).encode()
