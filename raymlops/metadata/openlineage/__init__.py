"""OpenLineage events of runs and steps, to a file of JSON lines or an HTTP endpoint."""

from raymlops.metadata.openlineage.emitter import Emitter
from raymlops.metadata.openlineage.observed import ObservedRuns
from raymlops.metadata.openlineage.transports import FileTransport, HttpTransport, Transport, transports_of

__all__ = ["Emitter", "FileTransport", "HttpTransport", "ObservedRuns", "Transport", "transports_of"]
