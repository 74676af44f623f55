"""What several processes of one training or test tell each other."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def of_all_processes(value: T) -> list[T]:
    """The value of every process, in their order, the same list in each: all have to call this together; else [value]."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
