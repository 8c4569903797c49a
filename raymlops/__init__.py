"""RayMLOps keeps a model right after it ships: one closed loop on one Ray cluster.

``raymlops.connect()`` gives the platform. Importing this package does not import Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymlops.lazy import lazy_names

if TYPE_CHECKING:
    from raymlops.flavors.python_model import PythonModel
    from raymlops.platform import Platform, connect

__all__ = ["Platform", "PythonModel", "__version__", "connect"]

__version__ = "0.2.0"


__getattr__ = lazy_names(__name__, {"platform": ["Platform", "connect"], "flavors.python_model": ["PythonModel"]})
