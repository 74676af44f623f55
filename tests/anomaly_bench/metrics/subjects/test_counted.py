"""Per-subject rows against scikit-learn on each subject's own pixels."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from anomaly_bench.metrics import SubjectCurves
from anomaly_bench.metrics.bins import score_keys

IDS = torch.tensor([7, -3, 7, 2**40, 0, -3, 7, 0])
PIVOT = 0.25
Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(params=["tied", "continuous"])
def maps(request: pytest.FixtureRequest) -> Maps:
    """Scores, mask and foreground of eight images; subject 0 has no anomalous foreground pixel."""
    torch.manual_seed(1)
    foreground = torch.rand(8, 1, 30, 30) < 0.8
    mask = (torch.rand(8, 1, 30, 30) < 0.1) & ~((IDS == 0).view(-1, 1, 1, 1) & foreground)
    scores = torch.randn(8, 1, 30, 30) + mask
    return (scores * 4).round() / 4 if request.param == "tied" else scores, mask, foreground


def counted(maps: Maps, batches: list[list[int]], threshold: int) -> SubjectCurves:
    curves = SubjectCurves()
    for batch in batches:
        curves.update(*(part[batch] for part in maps), IDS[batch], PIVOT, threshold)
    return curves


def test_rows_equal_brute_force(maps: Maps) -> None:
    scores, mask, foreground = maps
    threshold = int(score_keys(torch.ones(1), PIVOT, 20))
    rows = counted(maps, [[0, 1, 2], [3, 4], [5, 6, 7]], threshold).rows()
    assert [row["subject"] for row in rows] == [-3, 0, 7, 2**40]
    for row in rows:
        own = (row["subject"] == IDS).view(-1, 1, 1, 1) & foreground
        values, labels = scores[own].numpy(), mask[own].numpy()
        called = score_keys(scores[own], PIVOT, 20).numpy() >= threshold
        assert row["images"] == int((row["subject"] == IDS).sum())
        assert (row["pixels"], row["anomalous_pixels"]) == (len(values), labels.sum())
        if row["subject"] == 0:
            assert (row["dice"], row["ap"]) == (None, None)
            continue
        assert row["dice"] == 2 * (called & labels).sum() / (called.sum() + labels.sum())
        assert row["ap"] == pytest.approx(average_precision_score(labels, values), abs=1e-12)


def test_any_partition_and_merge_give_the_same_rows(maps: Maps) -> None:
    whole = counted(maps, [list(range(8))], 600_000)
    first, second = counted(maps, [[7, 2], [0], [3]], 600_000), counted(maps, [[1], [6, 5], [4]], 600_000)
    first.merge(second)
    assert first.rows() == whole.rows()
    merged = SubjectCurves()
    merged.merge(whole)
    assert merged.rows() == whole.rows()


def test_pending_blocks_are_folded_into_bounded_memory() -> None:
    torch.manual_seed(0)
    curves, scores = SubjectCurves(limit=30_000), torch.randn(16, 1, 64, 64)
    off, on = torch.zeros_like(scores, dtype=torch.bool), torch.ones_like(scores, dtype=torch.bool)
    for _ in range(9):
        curves.update(scores, off, on, torch.arange(16), 0.0, 0)
    assert curves._waiting < 2**18
    assert curves.rows()[3]["pixels"] == 9 * 64 * 64
    assert 15_000 < sum(map(len, curves._settled().values())) <= 30_000
    assert sum(int(own["normal"].sum()) for own in curves._settled().values()) == 9 * scores.numel()


def test_inputs_that_do_not_fit_are_refused(maps: Maps) -> None:
    curves = counted(maps, [[0, 1]], 600_000)
    with pytest.raises(ValueError, match="pivot and threshold"):
        curves.update(*maps, IDS, PIVOT, 600_001)
    with pytest.raises(ValueError, match="subject of shape"):
        curves.update(*maps, IDS[:3], PIVOT, 600_000)
    with pytest.raises(ValueError, match="NaN"):
        curves.update(maps[0] * torch.nan, *maps[1:], IDS, PIVOT, 600_000)
    with pytest.raises(ValueError, match="threshold"):
        curves.merge(counted(maps, [[0, 1]], 600_001))
    with pytest.raises(ValueError, match="bits"):
        curves.merge(SubjectCurves(full_bits=12))
    with pytest.raises(ValueError, match="finite pivot, got nan"):
        SubjectCurves().update(*maps, IDS, float("nan"), None)
    assert sum(row["images"] for row in curves.rows()) == 2
