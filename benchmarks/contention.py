"""Training steps beside a process that keeps one core busy: threads that spin while waiting against threads that sleep.

Run it by hand: `python benchmarks/contention.py`. It prints milliseconds per step for both, alone and beside the busy
process, in one run, and their ratio.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

STEPS = 15


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


def timed(policy: str) -> float:
    """Milliseconds per step in a fresh process with this OMP_WAIT_POLICY."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    command = [sys.executable, __file__, "measure"]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Both policies in turn, three times, alone and beside a busy process."""
    for title, busy in (("alone", 0), ("beside a busy process", 1)):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            pairs = [(timed("active"), timed("passive")) for _ in range(3)]
        finally:
            for other in others:
                other.kill()
        spinning, sleeping = (sorted(values)[1] for values in zip(*pairs, strict=True))
        print(
            f"{title}: spinning {spinning:.0f} ms, sleeping {sleeping:.0f} ms per step, ratio {spinning / sleeping:.2f}"
        )


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["measure"] else main()
