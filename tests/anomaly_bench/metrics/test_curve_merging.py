"""LocalizationCurve's counts over batches, curves and processes: the partition must not show."""

import pickle

import pytest
import torch

from anomaly_bench.metrics import LocalizationCurve

pytestmark = pytest.mark.filterwarnings("ignore:.* is known to:UserWarning")

Maps = tuple[torch.Tensor, ...]


@pytest.fixture
def maps() -> Maps:
    """Scores, mask, foreground and region weights of six images, the anomalous pixels of each being one region."""
    torch.manual_seed(0)
    mask = torch.rand(6, 1, 24, 24) < 0.07
    scores = torch.randn(mask.shape) + 1.5 * mask
    return scores, mask, torch.ones_like(mask), mask / mask.sum(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 2, 0, 4, 1, 3]])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_any_partition_and_order_give_identical_numbers(maps: Maps, order: list[int], parts: int) -> None:
    whole = LocalizationCurve(bits=12, pivot=0.1)
    whole.update(*maps)
    curves = [LocalizationCurve(bits=12, pivot=0.1) for _ in range(parts)]
    for position, index in enumerate(order):
        curves[position % parts].update(*(part[index : index + 1] for part in maps))
    merged = curves[0]
    merged.compute()
    for other in curves[1:]:
        merged.merge_state(other)
    assert merged.compute() == whole.compute()
    assert all(torch.equal(getattr(merged, name), getattr(whole, name)) for name in whole.metric_state)


def test_forward_reset_and_pickle_keep_counts_and_pivot(maps: Maps) -> None:
    first, rest = [part[:2] for part in maps], [part[2:] for part in maps]
    curve, plain, own = LocalizationCurve(), LocalizationCurve(), LocalizationCurve()
    assert curve(*first) == own(*first)
    own.reset()
    assert curve(*rest) == own(*rest)
    for part in (first, rest):
        plain.update(*part)
    assert pickle.loads(pickle.dumps(curve)).compute() == plain.compute()
    assert curve.pivot == first[0].median()
    curve.reset()
    assert int(curve.normal.sum()) == 0
    curve.update(*maps)
    assert curve.compute() == plain.compute()
    assert curve.pivot == first[0].median()


def test_curves_that_differ_do_not_merge(maps: Maps) -> None:
    mine, other = LocalizationCurve(pivot=0.0), LocalizationCurve(pivot=0.5)
    mine.update(*maps)
    other.update(*maps)
    before = mine.compute()
    with pytest.raises(ValueError, match="one pivot"):
        mine.merge_state(other)
    with pytest.raises(ValueError, match="20 bits"):
        mine.merge_state(LocalizationCurve(bits=12))
    assert mine.compute() == before
    unused = LocalizationCurve()
    unused.merge_state(mine)
    assert unused.compute() == before


def test_processes_sync_their_counts_and_must_share_the_pivot(maps: Maps) -> None:
    same = LocalizationCurve(
        dist_sync_fn=lambda state, group: [state.new_tensor(torch.nan), state], distributed_available_fn=lambda: True
    )
    same.update(*maps)
    assert same.pivot == maps[0].median()
    tie = same.tie.clone()
    with same.sync_context(dist_sync_fn=lambda state, group: [state, state]):
        assert int((same.normal + same.anomalous).sum()) == 2 * maps[0].numel()
        assert torch.equal(same.tie, tie)
    assert int((same.normal + same.anomalous).sum()) == maps[0].numel()
    apart = LocalizationCurve(
        dist_sync_fn=lambda state, group: [state, state + 1], distributed_available_fn=lambda: True
    )
    apart.update(*maps)
    with pytest.raises(ValueError, match="one pivot"):
        apart.compute()
