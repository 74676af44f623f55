"""Several models of one architecture as one: their parameters stacked, a forward and a backward pass for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from anomaly_bench.models import VAE

RANDOM = (torch.randn_like, torch.rand_like, torch.randn, torch.rand, torch.randint)
Terms = dict[str, Tensor]


class Stacked:
    """K models that differ in their weights, in beta and in how far its schedule is, called at once by torch.func.vmap.

    From the construction on, the models' parameters and buffers are views of the stacked ones (K, …): an optimizer of each
    model, or loading a state into it, changes what is called here. Random numbers are drawn by `draw` in the surroundings of
    each model, and what it would have drawn alone.
    """

    def __init__(self, models: Sequence[VAE]) -> None:
        template: Any = copy.deepcopy(models[0])
        template.scheduled, template.memory_format = (
            lambda: 1.0,
            torch.contiguous_format,
        )  # no trainer; no other under vmap
        self.template: VAE = template
        self.draws: list[Callable[[], Tensor]] = []
        self.stack(models)

    def stack(self, models: Sequence[VAE]) -> None:
        """Call these from now on."""
        self.models = models
        self.parameters = _together([dict(model.named_parameters()) for model in models])
        self.buffers = _together([dict(model.named_buffers()) for model in models])
        for one in self.parameters.values():
            one.requires_grad_()

    def record(self, image: Tensor) -> None:
        """Find out what is drawn in a training step with images (B, C, H, W), which draws nothing itself."""
        with torch.random.fork_rng(), torch.no_grad(), _Recording() as recording:
            copy.deepcopy(self.template).training_terms(image)
        self.draws = recording.draws

    def draw(self) -> list[Tensor]:
        """The random numbers of one model for one training step, from torch's global source."""
        return [draw() for draw in self.draws]

    def train(self, images: Tensor, draws: Sequence[list[Tensor]]) -> Terms:
        """The `training_terms`, (K, B) each, of images (K, B, C, H, W); draws: those of each model."""
        drawn = [torch.stack(own) for own in zip(*draws, strict=True)]
        self.template.train()
        return self._mapped(_training, (images, drawn), (0, 0))

    def backward(self, losses: Tensor) -> None:
        """Give every model the gradients of its loss, of (K,)."""
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()), allow_unused=True)
        for name, gradient in zip(self.parameters, gradients, strict=True):
            whole = None if gradient is None else gradient.contiguous()  # as parameters are; Adam does not ask
            for index, model in enumerate(self.models):
                model.get_parameter(name).grad = None if whole is None else whole[index]

    @torch.no_grad()
    def validate(self, image: Tensor, noise: Tensor) -> Terms:
        """The `validation_terms`, (K, B, …) each, of the same images (B, C, H, W) and noise for all models."""
        self.template.eval()
        return self._mapped(_validation, (image, noise), (None, None))

    def _mapped(self, function: Callable[..., Terms], given: tuple[Any, ...], axes: tuple[Any, ...]) -> Terms:
        device = self.models[0].device
        betas = torch.tensor([model.beta for model in self.models], device=device)
        shares = torch.tensor([model.scheduled() for model in self.models], device=device)
        call = partial(_call, _Terms(self.template, function))
        state = {f"model.{name}": value for name, value in (self.parameters | self.buffers).items()}
        terms: Terms = vmap(call, in_dims=(0, 0, 0, *axes))(state, betas, shares, *given)
        return terms


def check_stacked(model: VAE) -> None:
    """Try a step of two such models at once. Raises whatever comes of it, and RuntimeError if the terms are not theirs."""
    models = [copy.deepcopy(model) for _ in range(2)]
    for one in models:
        one.scheduled = lambda: 1.0  # type: ignore[method-assign]
    with torch.random.fork_rng():
        images = torch.rand(2, 2, *model.input_shape)
        stacked = Stacked(models)
        stacked.record(images[0])
        noise = stacked.draw()
        alone = copy.deepcopy(stacked.template)
        terms = stacked.train(images, [noise, noise])
        stacked.backward(terms["loss"].mean(dim=1))
        stacked.validate(images[0], models[0].validation_noise(2, 0))
        with torch.no_grad(), _Replaying(noise):
            expected = alone.train().training_terms(images[1])
    for name, term in expected.items():
        if not torch.allclose(terms[name][1], term, rtol=1e-3, atol=1e-3):
            raise RuntimeError(f"{name} of the second image batch is another one than alone")


class _Terms(nn.Module):
    """A model whose `forward` is a function of it."""

    def __init__(self, model: VAE, function: Callable[..., Terms]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *given: Any) -> Terms:
        return self.function(self.model, *given)


def _call(terms: _Terms, state: Terms, beta: Tensor, share: Tensor, *given: Any) -> Terms:
    template: Any = terms.model
    template._beta, template.scheduled = beta, lambda: share
    found: Terms = functional_call(terms, state, given)
    return found


def _training(model: VAE, image: Tensor, drawn: list[Tensor]) -> Terms:
    with _Replaying(drawn):
        return model.training_terms(image)


def _validation(model: VAE, image: Tensor, noise: Tensor) -> Terms:
    return model.validation_terms(image, noise)


class _Recording(TorchFunctionMode):
    """Notes how to draw again whatever is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Callable[[], Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in RANDOM:
            given = (
                (output,) if func in RANDOM[:2] else args
            )  # of the same layout as what was drawn, whose order it decides
            self.draws.append(partial(func, *given, **(kwargs or {})))
        return output


class _Replaying(TorchFunctionMode):
    """Gives what was drawn before in the place of what is drawn."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        super().__init__()
        self.drawn = iter(drawn)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return next(self.drawn) if func in RANDOM else func(*args, **(kwargs or {}))


def _together(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several states stacked, of which these become views."""
    stacked = {}
    for name in states[0]:
        own = [state[name] for state in states]
        stacked[name] = torch.stack([one.detach() for one in own])
        for one, view in zip(own, stacked[name], strict=True):
            one.data = view
    return stacked
