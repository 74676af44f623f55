"""Where a run's numbers and pictures are logged."""

from .loggers import TrackingCallback, build_loggers, finishing, trackers
from .results import log_results

__all__ = ["TrackingCallback", "build_loggers", "finishing", "log_results", "trackers"]
