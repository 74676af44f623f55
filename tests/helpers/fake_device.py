"""A device that is none: tensors in main memory that only the host's own waiting can read, as those of a GPU.

Its tensors say that they are on `meta`, which no code of ours asks for, and compute at once in main memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
DEVICE = torch.device("meta")
SIZES_DEPEND = {
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
}
# What torch.use_deterministic_algorithms refuses on CUDA, as its documentation lists it, as far as anything here could call it.
REFUSED = {
    aten.put_, aten.put, aten.histc, aten._adaptive_avg_pool2d_backward,
    aten.reflection_pad2d_backward, aten.upsample_bilinear2d_backward, aten.grid_sampler_2d_backward, aten.nll_loss_forward,
    aten.kthvalue,
}  # fmt: skip


class OnDevice(Tensor):
    """A tensor of the device; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the fake device outside of fake_device()")


class Waits(TorchDispatchMode):
    """What is done with the device's tensors, and `waits`: how often the host waited for it, by the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
        target = kwargs.get("device")
        made = target is not None and torch.device(target) == DEVICE
        if not there and not made:
            return func(*args, **kwargs)
        packet = func.overloadpacket
        moved = packet in (aten._to_copy, aten.copy_)
        if not moved and (strangers := [leaf for leaf in leaves if not isinstance(leaf, OnDevice) and leaf.ndim]):
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, {strangers[0].shape} is on the host"
            )
        self._check(func, packet, args, kwargs)
        if target is not None:
            kwargs["device"] = "cpu"
        plain_args, plain_kwargs = tree_map_only(OnDevice, lambda leaf: leaf.inner, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        if packet is aten._local_scalar_dense:
            return out
        if packet is aten._to_copy and target is not None and not made:
            if not kwargs.get("non_blocking"):
                self.waits["to host"] += 1
            return out
        if packet is aten.copy_ and not isinstance(args[0], OnDevice):
            if not (len(args) > 2 and args[2]) and not kwargs.get("non_blocking"):
                self.waits["to host"] += 1
            return args[0]
        return self._wrapped(func, out, args, plain_args)

    def _check(self, func: Any, packet: Any, args: Any, kwargs: Any) -> None:
        """Count what waits, and raise as CUDA does in its deterministic mode."""
        if packet is aten._local_scalar_dense or packet in SIZES_DEPEND:
            self.waits[str(func)] += 1
        indices = args[1] if packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) else ()
        if any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices):
            self.waits[f"{func} by bool"] += 1
        if torch.are_deterministic_algorithms_enabled():
            first = next((leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)), None)
            floating = first is not None and first.is_floating_point()
            weights = args[1] if len(args) > 1 else kwargs.get("weights")
            weighted = packet is aten.bincount and weights is not None
            median = packet in (aten.median, aten.nanmedian) and "dim" in func._overloadname
            product = packet is aten.scatter_reduce_ and "prod" in args
            if (
                packet in REFUSED
                or weighted
                or median
                or product
                or (packet in (aten.cumsum, aten.cumsum_) and floating)
            ):
                raise RuntimeError(f"{func} does not have a deterministic implementation on CUDA")

    def _wrapped(self, func: Any, out: Any, args: Any, plain_args: Any) -> Any:
        """What came out, on the device; of a call in place, what was given."""
        given = {id(plain): arg for plain, arg in zip(tree_leaves(plain_args), tree_leaves(args), strict=True)}

        def wrap(leaf: Tensor) -> Tensor:
            return given.get(id(leaf)) if id(leaf) in given else OnDevice(leaf)  # type: ignore[return-value]

        return tree_map_only(Tensor, wrap, out)


@contextmanager
def fake_device(deterministic: bool = True) -> Iterator[Waits]:
    """The device is there meanwhile, in the deterministic mode that a run is in."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        with Waits() as waits, patch.object(torch, "autocast", _no_autocast):  # which knows of no such device
            yield waits
    finally:
        torch.use_deterministic_algorithms(before)


def _no_autocast(*_: Any, **__: Any) -> Any:
    return nullcontext()


def moved(model: nn.Module) -> nn.Module:
    """The model with its weights and buffers on the device, inside of `fake_device`."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(OnDevice(parameter.detach().clone()), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnDevice(buffer.clone())
    model._device = DEVICE  # type: ignore[assignment]  # what Lightning says of it
    return model
