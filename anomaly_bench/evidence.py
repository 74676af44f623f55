"""What one model says about one batch; each quantity is computed at most once, when first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .models.elbo import kl_standard_normal
from .models.vae import VAE


class Evidence:
    """Lazy, memoized quantities of a frozen VAE on images (B, C, H, W), at the posterior mean.

    Everything non-iterative together costs one forward, one backward through the decoder and two through the encoder:
    the KL gradient needs the encoder alone, and the ELBO's is a sum (Zimmerer et al. 2019, arXiv 1907.02796).
    Gradients are of the terms in nats with respect to the image, signed, (B, C, H, W). Build it inside `frozen(model)`.

    spent: seconds that each quantity took by itself.
    """

    def __init__(self, model: VAE, image: Tensor, foreground: Tensor) -> None:
        self.model, self.foreground = model, foreground
        self.image = image.detach()
        self.spent: dict[str, float] = {}
        self._memo: dict[str, Any] = {}
        self._needs: dict[str, set[str]] = {}
        self._running: list[str] = []
        self._asked: set[str] = set()

    @property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, (B, latent) each."""
        mean, logvar = self._posterior
        return mean.detach(), logvar.detach()

    @property
    def reconstruction(self) -> Tensor:
        """x̂, the decoded posterior mean, (B, C, H, W)."""
        return self._reconstruction.detach()

    @property
    def rec(self) -> Tensor:
        """−log p(x|x̂) per image (B,), in nats."""
        return self._rec.detach()

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) per image (B,), in nats."""
        return self._kl.detach()

    @property
    def grad_rec(self) -> Tensor:
        """∂rec/∂x, through both the image and its reconstruction."""
        return self._once("grad_rec", lambda: self._gradient(self._rec))

    @property
    def grad_kl(self) -> Tensor:
        """∂KL/∂x."""
        return self._once("grad_kl", lambda: self._gradient(self._kl))

    @property
    def grad_elbo(self) -> Tensor:
        """∂(rec + beta · KL)/∂x."""
        return self._once("grad_elbo", lambda: self.grad_rec + self.model.beta * self.grad_kl)

    def timed(self, call: Callable[[Evidence], Tensor]) -> tuple[Tensor, float]:
        """The call's result and its seconds: its own plus those of every quantity it needs, whoever asked first."""
        self._asked = set()
        before = sum(self.spent.values())
        start = self._now()
        result = call(self)
        own = self._now() - start - (sum(self.spent.values()) - before)
        return result, own + sum(self.spent[name] for name in self._closure(self._asked))

    @property
    def _leaf(self) -> Tensor:
        return self._once("leaf", lambda: self.image.clone().requires_grad_(True))

    @property
    def _posterior(self) -> tuple[Tensor, Tensor]:
        return self._once("encode", lambda: self.model.encode(self._leaf))

    @property
    def _reconstruction(self) -> Tensor:
        return self._once("decode", lambda: self.model.decode(self._posterior[0]))

    @property
    def _rec(self) -> Tensor:
        return self._once("rec", lambda: self.model.likelihood.nll(self._leaf, self._reconstruction))

    @property
    def _kl(self) -> Tensor:
        return self._once("kl", lambda: kl_standard_normal(*self._posterior))

    def _gradient(self, term: Tensor) -> Tensor:
        return torch.autograd.grad(term.sum(), self._leaf, retain_graph=True)[0]

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        self._asked.add(name)
        if self._running:
            self._needs[self._running[-1]].add(name)
        if name not in self._memo:
            self._needs[name] = set()
            self._running.append(name)
            before, start = sum(self.spent.values()), self._now()
            self._memo[name] = compute()
            self._running.pop()
            self.spent[name] = self._now() - start - (sum(self.spent.values()) - before)
        return self._memo[name]

    def _now(self) -> float:
        if self.image.is_cuda:  # kernels run on after the call that starts them
            torch.cuda.synchronize(self.image.device)
        return time.perf_counter()

    def _closure(self, names: set[str]) -> set[str]:
        reached, todo = set(names), list(names)
        while todo:
            new = self._needs[todo.pop()] - reached
            reached |= new
            todo += new
        return reached


@contextmanager
def frozen(model: VAE) -> Iterator[None]:
    """Evaluation mode, gradients enabled, no weight taking any; everything as before on leaving."""
    training = model.training
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        model.train(training)
