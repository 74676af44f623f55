"""What a corrupted image looks like, counted over many."""

import pytest
import torch

from anomaly_bench.models.corruption import Corruption


def test_masks_are_squares_of_one_value_no_larger_than_allowed():
    image = torch.rand(400, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    masked = Corruption(0.0, 1, 0.25)(image)
    changed = masked != image
    assert torch.equal(changed[:, 0], changed[:, 1])
    touched = changed.any(dim=1).flatten(1).any(1)
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.08)
    for one, where in zip(masked[touched], changed[touched, 0], strict=True):
        rows, columns = where.any(1).nonzero().flatten(), where.any(0).nonzero().flatten()
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert max(height, width) <= 5  # a side of up to 4 px touches up to 5
        assert where.sum() == height * width
        assert len(one[:, where].unique()) == 1
    assert Corruption(0.0, 0, 0.5)(image) is image
    several = Corruption(0.0, 3, 0.5)(image)
    assert (several != image).float().mean() > 2 * changed.float().mean()


def test_a_square_goes_through_all_slices_of_a_volume():
    volumes = torch.rand(40, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    masked = Corruption(0.0, 1, 0.5)(volumes)
    changed = masked != volumes
    assert masked.shape == volumes.shape
    assert changed.flatten(1).any(1).float().mean() > 0.2
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))
