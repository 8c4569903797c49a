"""RayMLOps keeps a model right after it ships: one closed loop on one Ray cluster.

``raymlops.connect()`` gives the platform. Importing this package does not import Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymlops.flavors.python_model import PythonModel
    from raymlops.platform import Platform, connect

__all__ = ["Platform", "PythonModel", "__version__", "connect"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in {"Platform", "connect"}:
        from raymlops import platform

        return getattr(platform, name)
    if name == "PythonModel":
        from raymlops.flavors.python_model import PythonModel

        return PythonModel
    raise AttributeError(f"module 'raymlops' has no attribute {name!r}")
