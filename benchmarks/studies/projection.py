"""How projection depends on its settings: chosen on the validation images of some runs, measured on the test images of others.

By hand, on folders of finished runs: `python benchmarks/studies/projection.py --choose RUN RUN --test RUN RUN`. Every step
and l1 of the grid, and every number of iterations on the way, gives a map |x − x_T|, smoothed as |x − x̂| is beside it. What
is chosen is the setting of the highest mean gain in average precision on validation, of nearly equal ones that of the fewest
iterations; it prints the gains of the grid, the test figures of all runs at the chosen setting, and what it costs. `--plot
FILE` draws energy and average precision over the iterations. No map of a test image is looked at before the choice.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.stats import rankdata
from torch import Tensor

from anomaly_bench.base.progress import Reporter
from anomaly_bench.localization.trained import config_of, load_model
from anomaly_bench.models import VAE
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.filters import gaussian_smooth
from anomaly_bench.predictors.rules.projection import QUIET, Energy, path, spread
from anomaly_bench.predictors.subset_search import average_precision
from anomaly_bench.runs.data import build_data
from data_modules.base.batch import AnomalyBatch

STEPS, ITERATIONS = (0.005, 0.02, 0.1), (10, 20, 50)
L1S = (0.25, 0.5, 1.0)  # from √2 on nothing moves under a Laplace likelihood, whose gradient is that large at most
WORTH = 0.001  # of gain: less does not pay for more iterations
TOLERANCES = (1e-2, 1e-3, 1e-4)


class Part(NamedTuple):
    """Some images of a run with what their maps are held against: (N, C, H, W), and bool (N, 1, H, W) twice."""

    image: Tensor
    mask: Tensor
    foreground: Tensor


class Setting(NamedTuple):
    step: float
    l1: float
    iterations: int


class Run(NamedTuple):
    """A trained model with some of its validation and of its test images."""

    name: str
    model: VAE
    validation: Part
    test: Part

    @classmethod
    def load(cls, folder: Path, images: int) -> Run:
        config = config_of(folder)
        data = build_data(config, Reporter())
        model = load_model(folder)
        sigma = model.likelihood.sigma
        name = f"{config.dataset.name} ({config.model.variance} sigma{'' if sigma is None else f' {sigma:.3f}'})"
        normal, anomalous = (part_of(loader, images // 2) for loader in data.val_dataloader())
        validation = Part(*(torch.cat(pair) for pair in zip(normal, anomalous, strict=True)))
        return cls(name, model, validation, part_of(data.test_dataloader(), images))


def part_of(loader: Iterable[AnomalyBatch], images: int) -> Part:
    """At most so many images of a loader, evenly spread."""
    batches = list(loader)
    whole = Part(*(torch.cat([batch[key] for batch in batches]) for key in ("image", "mask", "foreground")))
    chosen = torch.linspace(0, len(whole.image) - 1, min(images, len(whole.image))).long()
    return Part(*(values[chosen] for values in whole))


def gradients(run: Run) -> float:
    """The mean size of rec's gradient over foreground pixels of the test images, over that of the KL divergence's."""
    with frozen(run.model):
        evidence = Evidence(run.model, run.test.image, run.test.foreground)
        inside = run.test.foreground.expand_as(evidence.grad_rec)
        return float(evidence.grad_rec[inside].abs().mean() / evidence.grad_kl[inside].abs().mean())


def figures(score: Tensor, part: Part, smooth: float) -> tuple[float, float]:
    """AP and AUROC of maps (N, C, H, W) of differences."""
    scores = gaussian_smooth(score.abs().mean(1, keepdim=True), smooth)[part.foreground]
    labels = part.mask[part.foreground]
    positives = rankdata(scores)[labels].sum() - labels.sum() * (labels.sum() + 1) / 2
    auroc = float(positives / (labels.sum() * (~labels).sum()))
    return average_precision(scores, labels, torch.ones(len(labels), dtype=torch.float64)), auroc


class Trace(NamedTuple):
    """Of one path: AP and AUROC by iteration, and per iteration the mean energy in nats and the share that goes on."""

    figures: dict[int, tuple[float, float]]
    energy: list[float]
    going: list[float]
    energies: Tensor


def traced(run: Run, part: Part, setting: Setting, smooth: float, every: Sequence[int]) -> Trace:
    """What a projection without a tolerance does to the images, one after the other iteration."""
    with frozen(run.model):
        evidence = Evidence(run.model, part.image, part.foreground)
        states = path(
            Energy(run.model, setting.l1), part.image, part.image, spread(evidence), setting.iterations, setting.step
        )
        found, energies, going = {}, [], []
        for number, state in enumerate(states):
            energies.append(state.energy.clone())
            going.append(state.going.float().mean().item())
            if number in every:
                found[number] = figures(part.image - state.image, part, smooth)
    last = figures(part.image - state.image, part, smooth)
    found |= {number: last for number in every if number > len(energies) - 1}
    return Trace(found, [float(energy.mean()) for energy in energies], going, torch.stack(energies))


def reconstructed(run: Run, part: Part, smooth: float) -> tuple[float, float]:
    """AP and AUROC of |x − x̂|."""
    with torch.no_grad():
        return figures(part.image - run.model(part.image), part, smooth)


def converged_at(energies: Tensor, tolerance: float) -> float:
    """The mean over images of the iteration after which an image of these energies (T, N) has converged."""
    small = -energies.diff(dim=0) < tolerance * (energies[0] - energies[1:])
    done = small.unfold(0, QUIET, 1).all(-1)
    first = torch.where(done.any(0), done.int().argmax(0) + QUIET, len(small))
    return float(first.float().mean())


def choose(runs: Sequence[Run], smooth: float) -> tuple[Setting, dict[Setting, list[float]]]:
    """The setting of the highest mean gain in AP over |x − x̂| on validation images, up to WORTH, and each one's by run."""
    gains: dict[Setting, list[float]] = {}
    for run in runs:
        base = reconstructed(run, run.validation, smooth)[0]
        for step, l1 in itertools.product(STEPS, L1S):
            found = traced(run, run.validation, Setting(step, l1, max(ITERATIONS)), smooth, ITERATIONS).figures
            for iterations, (ap, _) in found.items():
                gains.setdefault(Setting(step, l1, iterations), []).append(ap - base)
    means = {setting: sum(each) / len(each) for setting, each in gains.items()}
    good = [setting for setting, mean in means.items() if mean >= max(means.values()) - WORTH]
    return min(good, key=lambda setting: (setting.iterations, -means[setting])), gains


def seconds_per_image(run: Run, setting: Setting, tolerance: float) -> tuple[float, float]:
    """Of a projection and of one forward pass, on 32 test images in a batch."""
    part = Part(*(values[:32] for values in run.test))
    how = setting.iterations, setting.step, tolerance
    start = time.perf_counter()
    with frozen(run.model):
        evidence = Evidence(run.model, part.image, part.foreground)
        for _ in path(Energy(run.model, setting.l1), part.image, part.image, spread(evidence), *how):
            pass
    projected = time.perf_counter() - start
    with torch.no_grad():
        run.model(part.image)
        start = time.perf_counter()
        for _ in range(10):
            run.model(part.image)
    return projected / len(part.image), (time.perf_counter() - start) / 10 / len(part.image)


def draw(traces: dict[str, Trace], bases: dict[str, float], file: Path) -> None:
    """Energy and AP over the iterations, a line per run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, trace in traces.items():
        fallen = torch.tensor(trace.energy)
        (line,) = left.plot((fallen - fallen[-1]) / (fallen[0] - fallen[-1]), label=name)
        right.plot(list(trace.figures), [ap for ap, _ in trace.figures.values()], color=line.get_color(), label=name)
        right.axhline(bases[name], color=line.get_color(), linestyle=":", linewidth=1)
    left.set(xlabel="iteration", ylabel="energy above its end, share", yscale="log", ylim=(1e-3, 1))
    right.set(xlabel="iteration", ylabel="AP (dotted: |x − x̂|)")
    left.legend(fontsize="x-small")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--choose", nargs="+", type=Path, required=True, metavar="RUN", help="runs whose validation images choose")
    add("--test", nargs="*", type=Path, default=[], metavar="RUN", help="runs that have no part in the choice")
    add("--images", type=int, default=48, help="validation and test images of each run, default 48")
    add("--smooth", type=float, default=1.0, help="standard deviation in pixels of both maps' Gaussian, default 1")
    add("--plot", type=Path, help="where to draw energy and AP over the iterations")
    add("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    choosing, others = (
        [Run.load(folder, options.images) for folder in part] for part in (options.choose, options.test)
    )
    best, gains = choose(choosing, options.smooth)
    print("Gain in AP over |x − x̂| on validation images, mean and each run: " + ", ".join(run.name for run in choosing))
    for setting, each in sorted(gains.items()):
        shown = " ".join(f"{gain:+.3f}" for gain in each)
        mark = "  <- chosen" if setting == best else ""
        named = f"step {setting.step:g} l1 {setting.l1:g} iterations {setting.iterations}"
        print(f"{named}: {sum(each) / len(each):+.3f} ({shown}){mark}", flush=True)
    print(f"\nAt step {best.step:g}, l1 {best.l1:g}, test images, AP and AUROC:")
    traces, bases = {}, {}
    longest = best._replace(iterations=max(ITERATIONS))
    for run in [*choosing, *others]:
        base = reconstructed(run, run.test, options.smooth)
        trace = traced(run, run.test, longest, options.smooth, range(longest.iterations + 1))
        traces[run.name], bases[run.name] = trace, base[0]
        reached = trace.figures[best.iterations]
        projected, forward = seconds_per_image(run, best, TOLERANCES[1])
        passes = ", ".join(f"{tolerance:g}: {converged_at(trace.energies, tolerance):.0f}" for tolerance in TOLERANCES)
        own = " (its validation chose)" if run in choosing else ""
        print(
            f"{run.name}{own}: |x − x̂| {base[0]:.3f}/{base[1]:.3f}, projection {reached[0]:.3f}/{reached[1]:.3f}; iterations "
            f"to a tolerance of {passes}; {1000 * projected:.1f} ms per image, {projected / forward:.0f} × a forward pass; "
            f"mean of |∂rec/∂x| {gradients(run):.0f} × that of |∂KL/∂x|",
            flush=True,
        )
    if options.plot:
        draw(traces, bases, options.plot)


if __name__ == "__main__":
    main()
