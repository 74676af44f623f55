"""Seconds of calls that share quantities, by a clock that moves only where this file says so."""

import pytest
import torch

from anomaly_bench.models import BetaVAE
from anomaly_bench.predictors import Evidence, frozen
from anomaly_bench.predictors.stopwatch import TimedEvidence, folded, now

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


class Gpu:
    """CUDA events among the work of a GPU that begins nothing before it is waited for; `waits`: how often that happened."""

    def __init__(self) -> None:
        self.given, self.done, self.waits = 0.0, 0.0, 0

    def event(self, enable_timing: bool = False) -> "Event":
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def record(self, stream) -> None:
        self.at = self.gpu.given

    def query(self) -> bool:
        return self.gpu.done >= self.at

    def synchronize(self) -> None:
        self.gpu.waits += not self.query()
        self.gpu.done = max(self.gpu.done, self.at)

    def elapsed_time(self, end: "Event") -> float:
        assert end.query(), "not known yet"
        return 1e3 * (end.at - self.at)


@pytest.fixture
def gpu(evidence, clock, monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr("anomaly_bench.predictors.stopwatch.now", lambda device: recorded(gpu))
    monkeypatch.setattr(clock, "takes", lambda seconds: setattr(gpu, "given", gpu.given + seconds))
    return gpu


def recorded(gpu: Gpu) -> Event:
    event = gpu.event(enable_timing=True)
    event.record(None)
    return event


def test_seconds_of_a_gpu_are_read_at_the_end_and_are_the_same(evidence, gpu):
    stopwatch, total = TimedEvidence(evidence), 0.0
    for call, _ in CALLS.values():
        total = folded(total + stopwatch.timed(call)[1])
    assert gpu.waits == 0
    assert float(total) == sum(shared for _, shared in CALLS.values())
    assert gpu.waits > 0


def test_what_has_passed_is_folded_into_a_number(evidence, gpu):
    stopwatch = TimedEvidence(evidence)
    total = folded(0.0 + stopwatch.timed(CALLS["grad_elbo"][0])[1])
    assert len(total.signed) > 1
    gpu.done = gpu.given
    passed = folded(total)
    assert not passed.signed
    assert passed.known == CALLS["grad_elbo"][1]
    assert gpu.waits == 0
    assert folded(1.5) == 1.5


def test_a_moment_of_a_gpu_is_an_event_with_time_on_its_own_stream(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: (seen.append(enable_timing), Event(Gpu()))[1])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: seen.append(device))
    assert isinstance(now(torch.device("cuda", 1)), Event)
    assert seen == [True, torch.device("cuda", 1)]
    assert isinstance(now(torch.device("cpu")), float)
