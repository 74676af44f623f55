"""Where a run's numbers and pictures are logged."""

from .loggers import build_loggers, finish_loggers

__all__ = ["build_loggers", "finish_loggers"]
