"""Where a run's numbers and pictures are logged."""

from .loggers import build_loggers, finishing

__all__ = ["build_loggers", "finishing"]
