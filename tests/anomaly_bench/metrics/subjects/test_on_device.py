"""Histograms per subject that a device puts in order are those of the CPU, however coarse they become."""

from __future__ import annotations

import pytest
import torch

from anomaly_bench.metrics import SubjectCurves, region_weight
from anomaly_bench.metrics.subjects import counted
from anomaly_bench.metrics.subjects.on_device import Block, reduced
from tests.helpers.fake_device import OnDevice, fake_device


@pytest.mark.parametrize("limit", [40, 700, 1 << 20])
@pytest.mark.parametrize("chunk", [1, 1000, 1 << 22])
def test_bins_and_totals_are_those_of_the_cpu(monkeypatch, limit, chunk):
    monkeypatch.setattr(counted, "CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    home, there = SubjectCurves(16, limit), SubjectCurves(16, limit)
    with fake_device():
        for number in range(4):
            scores = torch.randn(3, 1, 12, 10, generator=generator) * (0.5 + number)
            scores[0, 0, 0, :3] = torch.tensor([0.0, -0.0, float("inf")])
            scores[1] = scores[1].round()
            mask = torch.rand(scores.shape, generator=generator) < 0.2
            foreground = torch.rand(scores.shape, generator=generator) < 0.8
            subject = torch.tensor([7, 7, number])
            parts = (scores, mask, foreground, region_weight(mask), subject)
            home.update(*parts[:3], subject, 0.25, 40_000, parts[3])
            there.update_there(Block(*map(OnDevice, parts)), 0.25, 40_000)
        there.flush()
    assert there.rows() == home.rows()
    assert there._bits == home._bits
    assert (there._bits < 64) == (limit < 1000)
    assert there.pooled() == home.pooled()
    assert there.bootstrap(20) == home.bootstrap(20)


def test_subjects_whose_scores_are_the_same_share_no_bin():
    """The last score of one subject in the order is the first of the next."""
    parts = (torch.full((2, 1, 3, 3), 0.5), torch.zeros(2, 1, 3, 3, dtype=torch.bool))
    block = Block(*parts, ~parts[1], torch.zeros(2, 1, 3, 3), torch.tensor([4, 9]))
    found = reduced([block], 0.0, 16, None, 64, 1 << 20)
    assert {subject: bins["normal"].tolist() for subject, bins in found.bins.items()} == {4: [9], 9: [9]}
