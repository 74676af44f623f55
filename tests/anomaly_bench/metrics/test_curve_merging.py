"""Counts over batches and over what several processes hand each other: the partition must not show."""

import pickle
from typing import Any

import pytest
import torch
from torchmetrics import Metric

from anomaly_bench.metrics import ExactCurve, LesionDetection, LocalizationCurve, SubjectCurves, find_regions

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
    assert all(torch.equal(getattr(merged, name), getattr(whole, name)) for name in (*whole.metric_state, "pivot"))


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
    with pytest.raises(ValueError, match=r"pivot 0.0, got 0.5"):
        mine.merge_state(other)
    with pytest.raises(ValueError, match="20 bits"):
        mine.merge_state(LocalizationCurve(bits=12))
    assert mine.compute() == before
    with pytest.raises(ValueError, match="expected a LocalizationCurve"):
        mine.merge_state(mine.metric_state)
    for first, second in ((LocalizationCurve(), mine), (mine, LocalizationCurve())):
        first.merge_state(second)
        assert first.compute() == before
        assert first.pivot == 0


def gathered(counted: list[Any]) -> list[Any]:
    """What `torch.distributed.all_gather_object` hands every process: copies through pickle."""
    return [pickle.loads(pickle.dumps(part)) for part in counted]


@pytest.mark.parametrize("kind", [ExactCurve, LocalizationCurve])
def test_gathered_curves_merge_into_one_over_all_images(maps: Maps, kind: type[LocalizationCurve]) -> None:
    pivot = {} if kind is ExactCurve else {"pivot": 0.1}
    whole, idle, *parts = (kind(**pivot) for _ in range(4))
    whole.update(*maps)
    for part, images in zip(parts, (slice(0, 4), slice(4, 6)), strict=True):
        part.update(*(values[images] for values in maps))
    first, *others = gathered([parts[0], idle, parts[1]])
    for other in others:
        first.merge_state(other)
    assert first.compute() == whole.compute()
    threshold = whole.threshold_at_fpr(0.1)
    assert first.threshold_at_fpr(0.1) == threshold
    assert first.dice_at(threshold) == whole.dice_at(threshold) != parts[0].dice_at(threshold)


def test_gathered_subjects_and_lesions_merge_into_one_over_all_images(maps: Maps) -> None:
    scores, mask, foreground, _ = maps
    subject, threshold = torch.arange(6) // 2, 550_000

    def counted(images: list[int]) -> tuple[SubjectCurves, LesionDetection]:
        subjects, lesions = SubjectCurves(), LesionDetection()
        subjects.update(scores[images], mask[images], None, subject[images], 0.1, threshold)
        lesions.update(scores[images] > 1, find_regions(mask[images]).within(foreground[images]))
        return subjects, lesions

    (subjects, lesions), (more, others) = gathered([counted([0, 3, 4]), counted([1, 2, 5])])
    subjects.merge(more)
    lesions.merge(others)
    everything, all_lesions = counted([0, 1, 2, 3, 4, 5])
    assert subjects.rows() == everything.rows()
    assert subjects.bootstrap(20) == everything.bootstrap(20)
    assert lesions.rows() == all_lesions.rows()


def test_a_curve_never_talks_to_other_processes(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, among_others = LocalizationCurve(), LocalizationCurve()
    alone.update(*maps)
    monkeypatch.setattr(Metric, "_sync_dist", lambda *_, **__: pytest.fail("a curve that syncs"))
    among_others.distributed_available_fn = lambda: True
    among_others.update(*maps)
    assert among_others.compute() == alone.compute()
