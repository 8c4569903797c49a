"""The console of a gateway that does not wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raymlops.config.platform import PlatformConfig
from raymlops.console import PREFIX
from raymlops.errors import UnavailableError
from raymlops.serving.front.operations import Operations
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest

if TYPE_CHECKING:
    from raymlops.console import Console

__all__ = ["LateConsole"]


class LateConsole:
    """Builds the console in a thread, while the gateway answers: importing what pages take needs seconds.

    Belongs to the event loop that runs when it is made.

    Args:
        config: The platform's configuration.
        operations: Carries out what people do on its pages.
        built_within_s: How long a request waits for the console.
    """

    def __init__(self, config: PlatformConfig, operations: Operations, built_within_s: float = 60.0) -> None:
        self._built_within_s = built_within_s
        self._building = asyncio.get_running_loop().create_task(asyncio.to_thread(_build, config, operations))

    def takes(self, path: str) -> bool:
        """Whether a path is the console's."""
        return path == PREFIX or path.startswith(f"{PREFIX}/")

    async def handle(self, request: HttpRequest, access: Access) -> HttpReply:
        """Answer one request, once the console is built.

        Raises:
            UnavailableError: It is not built in time.
        """
        try:
            async with asyncio.timeout(self._built_within_s):
                console = await asyncio.shield(self._building)
        except TimeoutError as error:
            raise UnavailableError("the console is not built yet: try again") from error
        return await console.handle(request, access)

    def close(self) -> None:
        """End the threads of its pages, if there are any yet."""
        if not self._building.cancel() and self._building.exception() is None:
            self._building.result().close()


def _build(config: PlatformConfig, operations: Operations) -> Console:
    from raymlops.console import Console
    from raymlops.runtime.serve.gateway.console_sources import cluster_sources

    return Console(cluster_sources(config), operations=operations)
