"""The endpoint of one model, for ``serve deploy configs/serve/endpoint.yaml`` on a cluster that runs the platform."""

from pydantic import BaseModel
from ray.serve import Application

from raymlops.config.reading.loader import load_config
from raymlops.control.reconciling.reconcile import Wanted, endpoint_name
from raymlops.runtime.serve.replicas.model_replica import model_application
from raymlops.runtime.supervision.home_note import running_config


class Arguments(BaseModel):
    """Arguments of the application."""

    model: str
    replicas: int = 1


def build(args: Arguments) -> Application:
    """The application; it serves the model's newest plan. The reconciler takes it for the one that it would start."""
    config = running_config(load_config().home)
    wanted = Wanted(endpoint_name(args.model), args.model, args.replicas, config.serving.replica_cpus)
    return model_application(config, args.model, args.replicas, shape=wanted.shape)
