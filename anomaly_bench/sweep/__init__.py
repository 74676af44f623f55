"""A grid of runs, carried out by an engine: resumable, parallel, each run exactly once.

`bench` tells the story. Nothing in here imports torch but what the processes of the runs need: `plan`, `worker`, `preload`.
"""

from .bench import Outcome, bench

__all__ = ["Outcome", "bench"]
