"""Image scores against sorting, and their AUROC and AP against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly_bench.metrics import image_ap, image_auroc, top_k_mean


@pytest.mark.parametrize("share", [0.01, 0.1, 0.35, 1.0])
def test_top_k_mean_equals_sorting_each_foreground(share: float) -> None:
    torch.manual_seed(0)
    maps, foreground = (
        torch.randn(5, 1, 20, 20),
        torch.rand(5, 1, 20, 20) < torch.tensor([1, 0.8, 0.3, 0.1, 0.02]).view(-1, 1, 1, 1),
    )
    maps = maps.masked_fill(~foreground, math.nan)
    got = top_k_mean(maps, foreground, share)
    for image, chosen, mean in zip(maps, foreground, got, strict=True):
        ranked = np.sort(image[chosen].numpy())[::-1]
        assert mean == pytest.approx(ranked[: max(1, round(share * len(ranked)))].mean(), abs=1e-5)


def test_top_k_mean_refuses_what_has_no_mean() -> None:
    maps, foreground = torch.zeros(2, 1, 3, 3), torch.ones(2, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="share"):
        top_k_mean(maps, foreground, 0)
    with pytest.raises(ValueError, match="shape"):
        top_k_mean(maps[:1], foreground)
    both = torch.tensor([[1.0, 2.0, 3.0], [torch.inf, -torch.inf, 0.0], [torch.inf, 1.0, 2.0]]).view(3, 1, 1, 3)
    with pytest.raises(ValueError, match=r"both inf and -inf in images \[1\]; clip"):
        top_k_mean(both, torch.ones_like(both, dtype=torch.bool), 1.0)
    assert top_k_mean(both[2:], torch.ones(1, 1, 1, 3, dtype=torch.bool), 1.0) == math.inf
    large = torch.full((1, 1, 1, 2), 3e38)
    assert top_k_mean(large, torch.ones_like(large, dtype=torch.bool), 1.0) == large[0, 0, 0, 0]
    foreground[1] = False
    with pytest.raises(ValueError, match=r"images \[1\]"):
        top_k_mean(maps, foreground)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.3, 2.0, 1e300]), st.booleans()), min_size=1, max_size=30))
def test_image_metrics_equal_scikit_learn(images: list[tuple[float, bool]]) -> None:
    scores, labels = zip(*images, strict=True)
    if len(set(labels)) < 2:
        assert image_auroc(scores, labels) is image_ap(scores, labels) is None
    else:
        assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert image_ap(torch.tensor(scores, dtype=torch.float64), torch.tensor(labels)) == pytest.approx(
            average_precision_score(labels, scores), abs=1e-12
        )


def test_image_metrics_refuse_nan_and_unequal_lengths() -> None:
    with pytest.raises(ValueError, match=r"NaN for images \[1\]"):
        image_auroc([0.0, math.nan], [0, 1])
    with pytest.raises(ValueError, match="one shape"):
        image_ap([0.0, 1.0], [0])
