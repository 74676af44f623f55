"""How well normal pixels are reconstructed beside an anomaly, and away from any."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from anomaly_bench.models.processes import of_all_processes

RIM = 1  # pixels beside an anomaly that its blurred edge may reach
REACH = 5  # pixels from an anomaly within which a normal one is near it


@dataclass
class Surroundings:
    """Summed |x − x̂| of the normal foreground pixels of anomalous images, near an anomaly and far from any.

    Near: more than RIM and at most REACH pixels away, diagonal steps counting as one. Far: further. Sums are float64.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    pixels: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.int64))

    def update(self, error: Tensor, mask: Tensor, foreground: Tensor) -> None:
        """Count a batch: error (B, 1, H, W) floating, mask and foreground (B, 1, H, W) bool, all on one device."""
        if self.sums.device != error.device:  # where nothing was counted yet, and nobody waits for it
            self.sums, self.pixels = self.sums.to(error.device), self.pixels.to(error.device)
        around = grown(mask, REACH)
        near = around & ~grown(mask, RIM) & foreground
        far = ~around & foreground & mask.flatten(1).any(1).view(-1, 1, 1, 1)
        for index, chosen in enumerate((near, far)):
            if error.device.type == "cpu":
                values = error[chosen]
                self.sums[index] += values.double().sum()
                self.pixels[index] += values.numel()
            else:
                self.sums[index] += error.double().masked_fill(~chosen, 0.0).sum()
                self.pixels[index] += chosen.sum()

    def gathered(self) -> Surroundings:
        """What all processes counted, the same in each, which have to call this together."""
        parts = of_all_processes((self.sums.cpu(), self.pixels.cpu()))
        return Surroundings(sum(sums for sums, _ in parts), sum(pixels for _, pixels in parts))  # type: ignore[arg-type]

    def means(self) -> dict[str, float | None]:
        """`normal_error_near` and `normal_error_far`, in intensity units; None where no pixel is."""
        names = ("normal_error_near", "normal_error_far")
        pairs = zip(names, self.sums.tolist(), self.pixels.tolist(), strict=True)
        return {name: total / count if count else None for name, total, count in pairs}


def grown(mask: Tensor, pixels: int) -> Tensor:
    """The mask (B, 1, H, W) bool and all within that many pixels of it, diagonal steps counting as one."""
    return max_pool2d(mask.float(), 2 * pixels + 1, stride=1, padding=pixels) > 0
