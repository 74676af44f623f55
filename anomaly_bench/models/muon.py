"""An optimizer that turns every layer's gradient into the nearest orthogonal step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration's polynomial, as Jordan chose them
STEPS = 5
MOMENTUM = 0.95
RMS = 0.2  # of an update of Adam's, in units of the learning rate
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Muon(torch.optim.Adam):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the weights of layers, Adam for all other parameters.

    A weight is taken as a matrix of its first dimension by all others. Its Nesterov momentum, of 0.95, is replaced by about
    the orthogonal matrix next to it (see `orthogonal`), times 0.2·√max(rows, columns), so that its root mean square is that
    of Adam's update and one `lr` fits both (Liu et al. 2025, arXiv 2502.16982, eq. 4). weight_decay: of weights the share
    that is lost per length of a step, W ← (1 − r·decay) W − r·O with r = lr·0.2·√max(rows, columns), so that in any layer the
    singular values stay below about 1 / decay (Pethick et al. 2025, arXiv 2502.07529); the others have none. Weights of grouped
    convolutions, whose rows share no input, are left to Adam.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.0, fused: bool | None = None) -> None:
        weights = layer_weights(model)
        held = {id(weight) for weight in weights}
        others = [parameter for parameter in model.parameters() if id(parameter) not in held]
        groups: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}, {"params": weights}]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update, after the loss of `closure`, if there is one, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[1]
        weights = [weight for weight in group["params"] if weight.grad is not None]
        gradients = [weight.grad for weight in weights]
        self._update(weights, group["lr"], group["weight_decay"])
        for weight in weights:
            weight.grad = None  # Adam passes these by
        super().step()
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return loss

    def _update(self, weights: list[Tensor], lr: float, decay: float) -> None:
        directions = []
        for weight in weights:
            state, gradient = self.state[weight], weight.grad
            assert gradient is not None
            if not state:
                state["step"] = torch.zeros(())  # which Adam looks for in every state that is loaded
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            directions.append(gradient.lerp(state["momentum"], MOMENTUM).flatten(1))
        for weight, step in zip(weights, orthogonal(directions), strict=True):
            rate = lr * RMS * max(step.shape) ** 0.5
            weight.mul_(1 - rate * decay).sub_(step.view_as(weight), alpha=rate)


def layer_weights(model: nn.Module) -> list[Tensor]:
    """The weights of linear and convolutional layers, those of grouped convolutions left out, each once."""
    layers = (layer for layer in model.modules() if isinstance(layer, LAYERS) and getattr(layer, "groups", 1) == 1)
    return list({id(layer.weight): layer.weight for layer in layers}.values())


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Of each matrix U S Vᵀ about U Vᵀ: singular values from 0.7 to 1.2, those below a thousandth of S's norm are less.

    Five steps of Newton–Schulz' iteration X ← (a + b XXᵀ + c (XXᵀ)²) X from X / ‖X‖ on. As all its factors are polynomials of
    the first XXᵀ, they are multiplied with each other at the size of the smaller side, those of the same size at once.
    """
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    wide = [matrix / (torch.linalg.vector_norm(matrix) + 1e-30) for matrix in wide]
    sizes = defaultdict(list)
    for index, matrix in enumerate(wide):
        sizes[len(matrix)].append(index)
    found = list(matrices)
    for indices in sizes.values():
        products = _polynomial(torch.stack([wide[index] @ wide[index].T for index in indices]))
        for index, product in zip(indices, products, strict=True):
            step = product @ wide[index]
            found[index] = step.T if matrices[index].shape[0] > matrices[index].shape[1] else step
    return found


def _polynomial(squares: Tensor) -> Tensor:
    """What the X of XXᵀ (N, n, n) is multiplied with in all steps."""
    a, b, c = COEFFICIENTS
    eye = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    product = eye.expand_as(squares)
    for _ in range(STEPS):
        factor = torch.baddbmm(a * eye + b * squares, squares, squares, alpha=c)
        product = factor @ product
        squares = squares @ factor @ factor
    return product
