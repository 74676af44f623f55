"""From a device to main memory: many tensors in one copy, and copies that nobody waits for before they are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors in main memory; those of a device come over in a single copy."""
    if all(part.device.type == "cpu" for part in tensors):
        return list(tensors)
    # the widest first, so that each lies where its type may lie
    order = sorted(range(len(tensors)), key=lambda index: -tensors[index].element_size())
    packed = torch.cat([tensors[index].detach().contiguous().view(-1).view(torch.uint8) for index in order]).cpu()
    found, start = list(tensors), 0
    for index in order:
        part = tensors[index]
        stop = start + part.element_size() * math.prod(part.shape)
        found[index] = packed[start:stop].view(part.dtype).view(part.shape)
        start = stop
    return found


class Fetch:
    """Tensors on their way to main memory; `get` waits until they are there."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._parts = [part.detach().to("cpu", non_blocking=True) for part in tensors]  # into pinned memory
        self._event = None
        if any(part.is_cuda for part in tensors):
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensors[0].device))

    def get(self) -> list[Tensor]:
        """The tensors in main memory."""
        if self._event is not None:
            self._event.synchronize()
        return self._parts
