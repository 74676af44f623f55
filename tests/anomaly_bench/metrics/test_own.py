"""The metrics of docs/metrics.md in a user's own module: their values, and what is said when one is wrong."""

import pickle
import re
import sys

import pytest
import torch
from checkout import ROOT
from torchmetrics import Metric
from torchmetrics.classification import BinaryAveragePrecision

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.metrics import Certified, LocalizationCurve, own_metrics

(CODE,) = re.findall(r"```python\n(# my_metrics.*?)```", (ROOT / "docs/metrics.md").read_text(), re.DOTALL)
PATHS = {"sensitivity_999": "my_metrics.sensitivity_999", "gap": "my_metrics.ScoreGap"}


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    yield
    sys.modules.pop("my_metrics", None)


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        mask = torch.rand(4, 1, 8, 8, generator=generator) > 0.8
        foreground = torch.rand(4, 1, 8, 8, generator=generator) > 0.3
        yield torch.rand(4, 1, 8, 8, generator=generator) + 0.5 * mask, mask, foreground


def counted(given, chosen=range(3)):
    """The metrics of some batches, and the curve of the same."""
    metrics, curve = {name: one.fresh() for name, one in own_metrics(given).items()}, LocalizationCurve(20, pivot=0.5)
    for index, batch in enumerate(batches()):
        if index in chosen:
            curve.update(*batch)
            for metric in metrics.values():
                metric.update(*batch)
    return metrics, curve


def test_their_values_are_of_the_foreground_pixels_of_all_batches():
    metrics, curve = counted(PATHS)
    scores, mask = (torch.cat([batch[index][batch[2]] for batch in batches()]) for index in (0, 1))
    gap, sensitivity = (metrics[name].measure(curve) for name in ("gap", "sensitivity_999"))
    assert gap.value == pytest.approx((scores[mask].mean() - scores[~mask].mean()).item())
    assert gap.low is None
    threshold = scores[~mask].sort(descending=True).values[int(0.001 * int((~mask).sum()))]
    assert sensitivity.low <= (scores[mask] > threshold).double().mean().item() <= sensitivity.high
    assert sensitivity.value == curve.sensitivity_at(0.999).value


def test_a_metric_of_torchmetrics_counts_in_a_copy_of_its_own():
    given = BinaryAveragePrecision()
    given.update(torch.tensor([0.9]), torch.tensor([0]))
    metrics, curve = counted({"ap_again": given, "class": BinaryAveragePrecision})
    exact = BinaryAveragePrecision()
    for scores, mask, foreground in batches():
        exact.update((scores / 2)[foreground], mask[foreground].long())
    halves = {name: one.fresh() for name, one in metrics.items()}
    for scores, mask, foreground in batches():
        for metric in halves.values():
            metric.update(scores / 2, mask, foreground)
    for metric in halves.values():
        assert metric.measure(curve).value == pytest.approx(exact.compute().item())
    assert given.update_count == 1


def test_counts_of_other_processes_add_up_in_any_order_whoever_has_none():
    whole, curve = counted(PATHS)
    expected = {name: metric.measure(curve) for name, metric in whole.items()}
    for parts in ([(0,), (1, 2)], [(1, 2), (0,)], [(), (0, 1, 2)], [(0, 1, 2), ()]):
        first, second = (counted(PATHS, chosen)[0] for chosen in parts)
        for name, metric in first.items():
            metric.measure(curve)  # what it remembers of this is not what it says later
            metric.merge(pickle.loads(pickle.dumps(second[name])))
            assert metric.measure(curve).value == pytest.approx(expected[name].value)


def test_what_cannot_be_pickled_is_not_sent():
    (metric,) = own_metrics({"own": lambda curve: 0.25}).values()
    assert metric.measure(LocalizationCurve(8)).value == 0.25
    assert pickle.loads(pickle.dumps(metric)).function is None


def test_scores_and_labels_are_one_dimensional_of_fixed_types():
    class Types(Unmerged):
        def update(self, scores, labels):
            seen.append((scores.dtype, labels.dtype, scores.tolist(), labels.tolist()))

    seen = []
    (metric,) = own_metrics({"own": Types}).values()
    half, mask = torch.tensor([[[[0.25, 0.5, 0.75]]]], dtype=torch.float16), torch.tensor([[[[False, True, True]]]])
    metric.update(half, mask, torch.tensor([[[[True, True, False]]]]))
    assert seen[-1] == (torch.float32, torch.int64, [0.25, 0.5], [0, 1])


class Unmerged(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, scores, labels):
        self.total += scores.sum()

    def compute(self):
        return self.total


class Lower(Unmerged):
    higher_is_better = False


class Averaged(Unmerged):
    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("mean", torch.zeros(()), dist_reduce_fx="mean")


@pytest.mark.parametrize("given", [Unmerged, Averaged])
def test_states_that_do_not_add_up_are_never_added(given):
    first, second = (counted({"own": given}, chosen)[0]["own"] for chosen in ((0,), (1,)))
    with pytest.raises(
        ConfigError, match=rf"^localization\.metrics\.own=.*{given.__name__}: .*set full_state_update = False"
    ):
        first.merge(second)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, (0.5, None, None)),
        (torch.tensor(0.5), (0.5, None, None)),
        (Certified(0.5, 0.4, 0.6), (0.5, 0.4, 0.6)),
        (None, (None, None, None)),
        (float("nan"), (None, None, None)),
    ],
)
def test_what_a_function_may_give(value, expected):
    (metric,) = own_metrics({"own": lambda curve: value}).values()
    found = metric.measure(LocalizationCurve(8))
    assert (found.value, found.low, found.high) == expected


def test_of_nothing_a_metric_of_pixels_is_undefined():
    metrics, curve = counted(PATHS, ())
    assert metrics["gap"].measure(curve).value is None
    metrics["gap"].update(*(torch.zeros(1, 1, 2, 2), *(torch.zeros(1, 1, 2, 2, dtype=torch.bool),) * 2))
    assert metrics["gap"].measure(curve).value is None


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("auroc", "my_metrics.ScoreGap", r"auroc: there is a metric of this name already, or a bound"),
        (
            "auroc_low",
            "my_metrics.ScoreGap",
            r"auroc_low: there is a metric .* or a bound of one .*choose another name",
        ),
        ("ap_ci_high", "my_metrics.ScoreGap", r"ap_ci_high: there is a metric .* or a bound of one"),
        ("my gap", "my_metrics.ScoreGap", r"my gap: expected a name of letters, digits and _"),
        ("validation_gap", "my_metrics.ScoreGap", r"validation_gap: expected a name .* not begin with validation_"),
        ("own", "my_metrics.Missing", r"own=my_metrics\.Missing: .*has no attribute 'Missing'.*PYTHONPATH"),
        ("own", "ScoreGap", r"own=ScoreGap: .*package\.module\.Name"),
        ("own", "math.pi", r"own=math\.pi: expected a function of a LocalizationCurve, or a torchmetrics Metric"),
        ("own", 5, r"own=5: expected a function of a LocalizationCurve"),
        ("own", "torchmetrics.classification.BinaryFBetaScore", r"own=.*BinaryFBetaScore: TypeError: .*'beta'"),
        ("own", "torchmetrics.regression.SpearmanCorrCoef", r"own=.*SpearmanCorrCoef: TypeError: Expected .*pred"),
        ("own", Lower, r"own=.*Lower: lower is better in it; name a metric that gives its negative"),
        ("own", lambda curve: "much", r"own=.*<lambda>: ValueError: could not convert string to float"),
        ("own", lambda curve: torch.zeros(2), r"own=.*<lambda>: (ValueError|RuntimeError): "),
        ("own", lambda curve: float("inf"), r"own=.*<lambda>: ValueError: it gives inf; expected a finite number"),
        ("own", lambda curve: Certified(0.5, 0.6, 0.7), r"own=.*<lambda>: ValueError: expected low <= value <= high"),
        ("own", lambda: 0.5, r"own=.*<lambda>: TypeError: .*positional argument"),
    ],
)
def test_what_is_wrong_with_one_is_said_by_the_key_before_anything_is_counted(name, given, message):
    with pytest.raises(ConfigError, match=rf"^localization\.metrics\.{message}"):
        own_metrics({name: given})
