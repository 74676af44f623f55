"""Which images are shown: the best, the worst and some between."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from anomaly_bench.pictures.choice import Cases
from anomaly_bench.pictures.panels import Sample


def chosen(cases, score, mask, foreground, size):
    """What is shown in the end of images that pass by in batches, and how many were held at most."""
    held = 0
    for first in range(0, len(score), size):
        part = slice(first, first + size)
        wanted = cases.wanted(score[part], mask[part], foreground[part], first)
        cases.add(first, wanted, [Sample(str(first + at), *[torch.zeros(1)] * 4, {}) for at in wanted])
        held = max(held, len(cases._samples))
    return cases.samples(), held


def whole(flags):
    """Images all anomalous or all normal: none has an AP."""
    mask = flags[:, None, None, None].expand(-1, 1, 2, 2)
    return torch.zeros(mask.shape), mask, torch.ones_like(mask)


def test_images_are_spread_over_the_anomalous_ones_where_none_has_an_ap():
    flags = torch.tensor([False, True, True, False, True, True, True])
    for count, size, expected in ((2, 3, [1, 6]), (10, 7, [1, 2, 4, 5, 6]), (0, 7, [])):
        samples, _ = chosen(Cases(count), *whole(flags), size)
        assert [int(sample.caption) for sample in samples] == expected
        assert {(sample.rank, sample.ap) for sample in samples} <= {("between", None)}
    samples, _ = chosen(Cases(2), *whole(torch.ones(100, dtype=torch.bool)), 9)
    assert [int(sample.caption) for sample in samples] == [0, 64]


def images(count):
    generator = torch.Generator().manual_seed(0)
    flags = torch.arange(count) % 4 > 0
    mask = (torch.rand(count, 1, 9, 9, generator=generator) < 0.2) & flags[:, None, None, None]
    foreground = torch.rand(count, 1, 9, 9, generator=generator) < 0.8
    contrast = torch.linspace(-1, 0.5, count)[torch.randperm(count, generator=generator)]
    score = torch.rand(count, 1, 9, 9, generator=generator) + mask * contrast[:, None, None, None]
    precision = {
        at: average_precision_score(mask[at][foreground[at]], score[at][foreground[at]])
        for at in range(count)
        if (mask[at] & foreground[at]).any()
    }
    return (score, mask, foreground), precision


def test_the_best_come_first_and_the_worst_last_each_with_its_ap():
    given, precision = images(40)
    samples, held = chosen(Cases(9), *given, 7)
    shown = [int(sample.caption) for sample in samples]
    order = sorted(precision, key=precision.__getitem__, reverse=True)
    assert (shown[:3], shown[-3:]) == (order[:3], order[-3:])
    assert [sample.rank for sample in samples] == ["best"] * 3 + ["between"] * 3 + ["worst"] * 3
    assert [sample.ap for sample in samples] == pytest.approx([precision[at] for at in shown])
    assert [sample.ap for sample in samples] == sorted((sample.ap for sample in samples), reverse=True)
    between = sorted(shown[3:6])
    assert between[-1] - between[0] > 12
    assert held <= 18


def test_of_few_images_no_one_is_among_the_best_and_the_worst():
    given, precision = images(4)
    assert len(precision) == 3
    samples, _ = chosen(Cases(9), *given, 2)
    assert [sample.rank for sample in samples] == ["best", "between", "worst"]
