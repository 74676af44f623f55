"""Seconds of calls that share quantities, by a clock that moves only where this file says so."""

import pytest
import torch

from anomaly_bench.models import BetaVAE
from anomaly_bench.predictors import Evidence, frozen
from anomaly_bench.predictors.stopwatch import TimedEvidence

SHAPE = (2, 16, 16)
ENCODE, DECODE, KL, OWN = 1, 10, 100, 1000  # seconds that each is to take


class Clock:
    seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def takes(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("anomaly_bench.predictors.stopwatch.time", clock)
    return clock


@pytest.fixture
def evidence(clock, monkeypatch):
    torch.manual_seed(0)
    model = BetaVAE(SHAPE, latent=5, channels=(4, 8))
    model.encoder.register_forward_hook(lambda *_: clock.takes(ENCODE))
    model.decoder.register_forward_hook(lambda *_: clock.takes(DECODE))
    kl = model.kl
    monkeypatch.setattr(model, "kl", lambda *posterior: (clock.takes(KL), kl(*posterior))[1])
    with frozen(model):
        image = torch.rand(3, *SHAPE)
        yield Evidence(model, image, torch.ones_like(image[:, :1], dtype=torch.bool))


CALLS = {
    "reconstruction": (lambda evidence: evidence.reconstruction, ENCODE + DECODE),
    "grad_kl": (lambda evidence: evidence.grad_kl, ENCODE + KL),
    "grad_rec": (lambda evidence: evidence.grad_rec, ENCODE + DECODE),
    "grad_elbo": (lambda evidence: evidence.grad_elbo, ENCODE + DECODE + KL),
    "sampled twice": (lambda evidence: [evidence.sampled(n).reconstruction for n in (0, 1)], ENCODE + 2 * DECODE),
    "of a sample": (lambda evidence: evidence.sampled(0).grad_kl, ENCODE + KL),
    "nothing": (lambda evidence: evidence.image, 0),
}


@pytest.mark.parametrize("order", [list(CALLS), list(reversed(CALLS))])
def test_a_call_is_charged_for_what_it_needs_whoever_asked_first(evidence, clock, order):
    stopwatch = TimedEvidence(evidence)
    for name in [*order, *order]:
        call, shared = CALLS[name]

        def slow(evidence, call=call):
            clock.takes(OWN)
            return call(evidence)

        assert stopwatch.timed(slow)[1] == OWN + shared, name
    assert stopwatch.seconds["encode"] == ENCODE
    assert stopwatch.seconds["decode"] == DECODE
    assert stopwatch.seconds["grad_elbo"] == 0


def test_the_watched_evidence_has_what_was_computed_under_the_stopwatch(evidence, clock):
    stopwatch = TimedEvidence(evidence)
    gradient, _ = stopwatch.timed(lambda evidence: evidence.grad_elbo)
    taken = clock.seconds
    assert evidence.grad_elbo is gradient
    assert evidence.reconstruction.shape == (3, *SHAPE)
    assert clock.seconds == taken
    _, seconds = TimedEvidence(evidence).timed(lambda evidence: evidence.grad_elbo)
    assert seconds == 0
