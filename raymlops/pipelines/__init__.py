"""The pipeline engine: a DAG of steps with typed artifacts, cache, retry and resume. It knows no machine learning."""

from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.pipelines.cache import ExecutionCache
from raymlops.pipelines.dag import Pipeline
from raymlops.pipelines.outlook import PlannedStep, resume_outlook
from raymlops.pipelines.run_log import RESUME_OF, RunLog, origin_of
from raymlops.pipelines.runner import PipelineResult, PipelineRunner, StepReport
from raymlops.pipelines.step import Halt, Step
from raymlops.pipelines.step_log import StepLogs

__all__ = [
    "RESUME_OF",
    "ArtifactRef",
    "ArtifactStore",
    "ExecutionCache",
    "Halt",
    "Pipeline",
    "PipelineResult",
    "PipelineRunner",
    "PlannedStep",
    "RunLog",
    "Step",
    "StepLogs",
    "StepReport",
    "origin_of",
    "resume_outlook",
]
