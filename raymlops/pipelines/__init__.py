"""The pipeline engine: a DAG of steps with typed artifacts, cache, retry and resume. It knows no machine learning."""

from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.pipelines.cache import ExecutionCache
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.runner import PipelineResult, PipelineRunner, RunLog, StepReport
from raymlops.pipelines.step import Halt, Step

__all__ = [
    "ArtifactRef",
    "ArtifactStore",
    "ExecutionCache",
    "Halt",
    "Pipeline",
    "PipelineResult",
    "PipelineRunner",
    "RunLog",
    "Step",
    "StepReport",
]
