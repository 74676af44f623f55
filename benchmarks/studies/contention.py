"""Training steps beside a process that keeps one core busy: how long threads spin while they wait for each other.

By hand: `python benchmarks/studies/contention.py`. It prints milliseconds per step, alone and beside the busy process, for
the runtime's default, for the short spin that the command line sets, and for none; and ratios to the default, in one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

STEPS = 15
SETTINGS = {
    "default": {},
    "short spin": {"GOMP_SPINCOUNT": "1000"},
    "no spin": {"OMP_WAIT_POLICY": "passive"},
}


def measure() -> None:
    """Print the milliseconds per training step of the default VAE on 32 images of 64×64."""
    import torch

    from anomaly_bench.models import VAE

    torch.manual_seed(0)
    model, image = VAE((1, 64, 64)), torch.rand(32, 1, 64, 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = 0.0
    for step in range(STEPS + 3):
        if step == 3:
            start = time.perf_counter()
        rec, kl = model.terms(image, sample=True)
        optimizer.zero_grad()
        (rec + kl).mean().backward()
        optimizer.step()
    print((time.perf_counter() - start) / STEPS * 1000)


def timed(settings: dict[str, str]) -> float:
    """Milliseconds per step in a fresh process with these environment variables."""
    environment = os.environ | settings
    command = [sys.executable, __file__, "measure"]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """All settings in turn, three times, alone and beside a busy process; medians."""
    for title, busy in (("alone", 0), ("beside a busy process", 1)):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            rounds = [[timed(settings) for settings in SETTINGS.values()] for _ in range(3)]
        finally:
            for other in others:
                other.kill()
        medians = [sorted(times)[1] for times in zip(*rounds, strict=True)]
        for name, median in zip(SETTINGS, medians, strict=True):
            print(f"{title}: {name} {median:.0f} ms per step, {median / medians[0]:.2f} of the default")


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["measure"] else main()
