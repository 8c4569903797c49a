"""What a wheel carries beside the package: the example project and the settings."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarriedHook(BuildHookInterface):
    """Puts ``examples/flights`` and ``configs`` into the package, where ``raymlops.cli.carried`` looks for them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them to a wheel; an editable install finds them in the clone."""
        if version != "editable":
            build_data["force_include"] |= {each: f"raymlops/{each}" for each in ("examples/flights", "configs")}
