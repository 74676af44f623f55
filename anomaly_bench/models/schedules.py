"""How the weight of the KL term grows during training: shares of its final value, as functions of the step."""

from __future__ import annotations

SCHEDULES = ("warmup", "cyclical", "capacity")


def warmup(step: int, steps: int) -> float:
    """From 0 linearly to 1 over `steps` steps, then 1; 1 throughout if there are none (Sønderby et al. 2016)."""
    return min(1.0, step / steps) if steps else 1.0


def cyclical(step: int, cycle: int, cycles: int, ramp: float) -> float:
    """`cycles` times from 0 linearly to 1 during the share `ramp` of `cycle` steps and 1 for their rest; then 1.

    Fu et al. 2019 (arXiv 1903.10145): M cycles, of which the share R is the ramp; 4 and 0.5 are what its users take.
    """
    if step >= cycles * cycle:
        return 1.0
    return min(1.0, step % cycle / (ramp * cycle))
