"""Prediction services: models on disk, the wire protocol, trials, and the endpoint that joins them.

Nothing here knows Ray or a web framework: a shell turns its requests into ``HttpRequest``, awaits ``Endpoint.handle``
or ``Gateway.handle``, and sends the ``HttpReply``.
"""

from raymlops.serving.answering.event_log import EventLog, EventLogStats
from raymlops.serving.answering.events import PredictionEvent
from raymlops.serving.answering.router import choose
from raymlops.serving.endpoint import Endpoint, EndpointStats
from raymlops.serving.front.gateway import Gateway, ServedPlans
from raymlops.serving.front.openapi import openapi_document
from raymlops.serving.models.input_names import EVENT_SCHEMA
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.serving.plans.loader import Loaded, Loader, Serving, load_version
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from raymlops.serving.protocol.protocols import (
    CandidateClient,
    Candidates,
    EventSink,
    FeaturePlans,
    LabelSink,
    OnlineFeatures,
    OnlineRows,
)

__all__ = [
    "EVENT_SCHEMA",
    "CandidateClient",
    "Candidates",
    "Endpoint",
    "EndpointStats",
    "EventLog",
    "EventLogStats",
    "EventSink",
    "FeaturePlans",
    "Gateway",
    "HttpReply",
    "HttpRequest",
    "LabelSink",
    "Loaded",
    "Loader",
    "Model",
    "OnlineFeatures",
    "OnlineRows",
    "PredictionEvent",
    "ServedPlans",
    "Serving",
    "choose",
    "columns_of",
    "load_model",
    "load_version",
    "openapi_document",
    "save_model",
]
