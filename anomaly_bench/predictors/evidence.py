"""What one model says about one batch; each quantity is computed at most once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from anomaly_bench.models.vae import VAE

from .filters import each

LATENT_SEEDS = 2**20  # apart from those of the noise on images


class Evidence:
    """Lazy, memoized quantities of a frozen VAE on images (B, C, H, W), or such with their neighbours, at the posterior mean.

    Everything non-iterative together costs one forward, one backward through the decoder and two through the encoder:
    the KL gradient needs the encoder alone, and the ELBO's is a sum (Zimmerer et al. 2019, arXiv 1907.02796).
    Gradients are of the terms in nats with respect to the image, signed, (B, C, H, W), neighbours being held fixed. Build it
    inside `frozen(model)`.

    What it gives is shared by all predictors: none may change it in place (a Suite notices and refuses that one).

    inputs: what the model sees; image: (B, C, H, W), what of it is reconstructed and scored: of slices with their neighbours
    the one in the middle. foreground: (B, 1, H, W) bool, the pixels that count. Of volumes all is (B, C, D, H, W).
    """

    def __init__(self, model: VAE, image: Tensor, foreground: Tensor) -> None:
        self.model, self.foreground = model, foreground
        self.inputs = image.detach()
        self.image = model.middle(self.inputs)
        self._memo: dict[str, Any] = {}
        self._versions: dict[str, list[tuple[Tensor, int]]] = {}
        self._note("image", self.inputs)
        self._note("foreground", foreground)
        self._mean_evidence: Evidence | None = None
        self._normal: Tensor | None = None

    @property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance, (B, *latent_shape) each."""
        mean, logvar = self._posterior
        return mean.detach(), logvar.detach()

    @property
    def reconstruction(self) -> Tensor:
        """x̂, the decoded latent, (B, C, H, W)."""
        return self._decoded[0].detach()

    @property
    def error(self) -> Tensor:
        """|x − x̂|, (B, C, H, W)."""
        return self.once("error", lambda: (self.image - self.reconstruction).abs_())

    @property
    def variance(self) -> Tensor:
        """The variance of p(x|z) at each pixel: (B, C, H, W), or a single number where all pixels share it."""
        return self.once("variance", lambda: self.model.likelihood.variance_at(*self._decoded).detach())

    @property
    def rec(self) -> Tensor:
        """−log p(x|z) per image (B,), in nats."""
        return self._rec.detach()

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) per image (B,), in nats."""
        return self._kl.detach()

    @property
    def grad_rec(self) -> Tensor:
        """∂rec/∂x, through both the image and its reconstruction."""
        return self.once("grad_rec", lambda: self._gradient(self._rec))

    @property
    def grad_kl(self) -> Tensor:
        """∂KL/∂x; the same for every latent sample."""
        if self._mean_evidence is not None:
            return self._mean_evidence.grad_kl
        return self.once("grad_kl", lambda: self._gradient(self._kl))

    def grad_level_kl(self, level: int) -> Tensor:
        """∂/∂x of the part of the KL that one level of the latents has, 1 next to the image; grad_kl is their sum."""
        if self._mean_evidence is not None:
            return self._mean_evidence.grad_level_kl(level)
        return self.once(f"grad_kl_{level}", lambda: self._gradient(self.model.level_kl(*self._posterior, level)))

    @property
    def grad_elbo(self) -> Tensor:
        """∂(rec + beta · KL)/∂x."""
        return self.once("grad_elbo", lambda: self.grad_rec + self.model.beta * self.grad_kl)

    def noisy(self, number: int, share: float) -> Evidence:
        """Evidence on the images plus Gaussian noise, of `share` times each image's range of values (max − min).

        The noise is chosen by `number` and is the same for all images, so that no map depends on its batch.
        """
        extent = self.image.flatten(1).amax(dim=1) - self.image.flatten(1).amin(dim=1)
        noise = standard_normal(number, self.inputs)
        return Evidence(self.model, self.inputs + share * each(extent, noise) * noise, self.foreground)

    def sampled(self, number: int) -> Evidence:
        """Evidence at a posterior sample in place of the mean, which shares this one's pass through the encoder.

        The sample is mean + standard deviation · a standard normal, which is chosen by `number`, the same for all images.
        """
        mean, _ = self._posterior
        sampled = Evidence(self.model, self.inputs, self.foreground)
        sampled._mean_evidence = self if self._mean_evidence is None else self._mean_evidence
        sampled._normal = standard_normal(LATENT_SEEDS + number, mean)
        sampled._memo = {"leaf": self._leaf, "encode": self._posterior}
        return sampled

    @property
    def _leaf(self) -> Tensor:
        return self.once("leaf", lambda: self.inputs.clone().requires_grad_(True))

    @property
    def _posterior(self) -> tuple[Tensor, Tensor]:
        return self.once("encode", lambda: self.model.encode(self._leaf))

    @property
    def _decoded(self) -> tuple[Tensor, Tensor | None]:
        return self.once("decode", lambda: self.model.decode_with_scale(self._latent()))

    @property
    def _rec(self) -> Tensor:
        return self.once("rec", lambda: self.model.likelihood.nll(self.model.middle(self._leaf), *self._decoded))

    @property
    def _kl(self) -> Tensor:
        return self.once("kl", lambda: self.model.kl(*self._posterior))

    def _latent(self) -> Tensor:
        mean, logvar = self._posterior
        return mean if self._normal is None else mean + self._normal * (0.5 * logvar).exp()

    def _gradient(self, term: Tensor) -> Tensor:
        return self.model.middle(torch.autograd.grad(term.sum(), self._leaf, retain_graph=True)[0])

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, which is called the first time alone; name: of the quantity, with all that it depends on."""
        if name not in self._memo:
            with torch.enable_grad():  # whoever asks first, others may want gradients of it
                self._memo[name] = compute()
            self._note(name, self._memo[name])
        return self._memo[name]

    def changed(self) -> str:
        """The name of a quantity that was changed in place since it was computed; empty if none was."""
        noted = self._versions.items()
        return next((name for name, parts in noted if any(part._version != before for part, before in parts)), "")

    def _note(self, name: str, value: Any) -> None:
        """Remember how often the tensors of a quantity have been written to so far."""
        parts = value if isinstance(value, tuple) else (value,)
        tensors = [part for part in parts if isinstance(part, Tensor) and not part.is_inference()]
        self._versions[name] = [(part, part._version) for part in tensors]


def standard_normal(number: int, batch: Tensor) -> Tensor:
    """The standard normal (1, …) that `number` stands for, to go with every member of a batch (B, …), on its device."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(1, *batch.shape[1:], generator=generator).to(batch)


@contextmanager
def frozen(model: VAE) -> Iterator[None]:
    """Evaluation mode, gradients enabled, no weight taking any, full precision; everything as before on leaving.

    Full precision also inside of torch.autocast: half of it moves the KL gradient by up to a quarter of its range.
    """
    training = model.training
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        model.train(training)
