"""What several processes of one training or test tell each other."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def of_all_processes(value: T) -> list[T]:
    """The value of every process, in their order, the same list in each: all have to call this together; else [value]."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def mean_of_all_processes(value: Tensor) -> Tensor:
    """The mean of every process's value, () or any one shape, which has no gradient: all have to call this together."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
