"""Server metadata, health and API description, for ``serve deploy`` on a cluster that runs the platform."""

from pydantic import BaseModel
from ray.serve import Application

from raymlops.config.reading.loader import load_config
from raymlops.runtime.serve.gateway.gateway_replica import gateway_application
from raymlops.runtime.supervision.home_note import running_config


class Arguments(BaseModel):
    """The application takes no arguments."""


def build(args: Arguments) -> Application:
    """The application."""
    del args
    return gateway_application(running_config(load_config().home))
