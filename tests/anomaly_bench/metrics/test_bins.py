"""Score keys against the order of float32 itself, and thresholds against counting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_bench.metrics.bins import (
    EMPTY,
    MIXED,
    PIVOT_SAMPLE,
    bin_lower_edge,
    default_pivot,
    merged_ties,
    mid_cdf,
    score_codes,
    score_keys,
    threshold_at_fpr,
)

floats = st.floats(width=32, allow_nan=False, allow_infinity=True, allow_subnormal=True)
counts = st.lists(st.integers(0, 5), min_size=8, max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(floats, min_size=2, max_size=20), st.sampled_from([8, 14, 20, 32]), st.sampled_from([0.0, -0.0, 0.5, -3e4])
)
def test_keys_order_as_floats_do(values: list[float], bits: int, pivot: float) -> None:
    scores = torch.tensor([*values, -0.0, 0.0, 1e-45, -1e-45])
    bins, whole = score_keys(scores, pivot, bits), score_keys(scores, pivot, 32)
    shifted = scores - torch.tensor(pivot)
    assert torch.equal(whole[:, None] < whole, shifted[:, None] < shifted)
    assert torch.equal(bins, whole >> (32 - bits))
    assert 0 <= int(bins.min()) <= int(bins.max()) < 2**bits


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20))
def test_codes_are_equal_where_scores_are(values: list[float]) -> None:
    scores = torch.tensor([*values, -0.0, 0.0, 1e-45, -1e-45, 0.1, math.inf, -math.inf], dtype=torch.float64)
    scores = torch.cat([scores, scores.float().double()])
    codes = score_codes(scores)
    assert torch.equal(codes[:, None] == codes, scores[:, None] == scores)
    assert not bool(((codes == EMPTY) | (codes == MIXED)).any())


def test_merged_ties() -> None:
    zero, one = score_codes(torch.tensor([0.0, -1.0])).tolist()
    ties = torch.tensor([[EMPTY, zero, EMPTY, one, MIXED, one, EMPTY], [EMPTY, EMPTY, one, one, one, zero, MIXED]])
    assert merged_ties(ties).tolist() == [EMPTY, zero, one, one, MIXED, MIXED, MIXED]


@settings(max_examples=150, deadline=None)
@given(floats, st.sampled_from([6, 14, 20]), st.sampled_from([0.0, 1.0, -1.0, 0.3, 1000.25, -3e38]))
def test_lower_edge_parts_scores_as_their_bins_do(value: float, bits: int, pivot: float) -> None:
    index = int(score_keys(torch.tensor([value]), pivot, bits))
    edge = torch.tensor([bin_lower_edge(index, pivot, bits)])
    assert edge <= value
    assert int(score_keys(edge, pivot, bits)) == index
    if edge > -math.inf:
        assert int(score_keys(torch.nextafter(edge, torch.tensor(-math.inf)), pivot, bits)) < index or edge == 0


def test_edges_beyond_the_floats_are_infinite() -> None:
    assert [bin_lower_edge(index, 0.0, 20) for index in (0, 2**20 - 1, 2**20)] == [-math.inf, math.inf, math.inf]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="2 NaN among 3"):
        score_keys(torch.tensor([math.nan, 1.0, math.nan]), 0.0, 20)


def test_default_pivot() -> None:
    assert default_pivot(torch.tensor([math.inf, 5.0, 1.0, 7.0, -math.inf])) == 5
    assert default_pivot(torch.tensor([math.inf])) == 0
    assert default_pivot(torch.tensor([5.0], dtype=torch.float16)) == 0
    inside = torch.tensor([False, True, True, True, False])
    assert default_pivot(torch.tensor([9.0, 1.0, 2.0, 3.0, math.nan]), inside) == 2
    spread = torch.arange(3.0 * PIVOT_SAMPLE)
    assert default_pivot(spread) == pytest.approx(spread.median().item(), rel=1e-3)
    assert default_pivot(spread, spread == 4.0) == 4


@settings(max_examples=200, deadline=None)
@given(counts.filter(any), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0]))
def test_threshold_is_the_lowest_that_holds_the_rate(normal: list[int], fpr: float) -> None:
    threshold = threshold_at_fpr(torch.tensor(normal), fpr)
    holds = [sum(normal[t:]) / sum(normal) <= fpr for t in range(len(normal) + 1)]
    assert threshold == holds.index(True)


def test_mid_cdf_counts_half_of_the_ties() -> None:
    assert mid_cdf(torch.tensor([1, 0, 2, 1])).tolist() == [0.125, 0.25, 0.5, 0.875]


def test_thresholds_need_normal_pixels_and_a_rate() -> None:
    with pytest.raises(ValueError, match="normal foreground pixel"):
        threshold_at_fpr(torch.zeros(4, dtype=torch.int64), 0.1)
    with pytest.raises(ValueError, match="normal foreground pixel"):
        mid_cdf(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="false-positive rate"):
        threshold_at_fpr(torch.ones(4, dtype=torch.int64), 1.5)
