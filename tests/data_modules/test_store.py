import shutil

import numpy as np
import pytest
import torch

from data_modules.store import Slices, build_store, open_store


def cases(count=3):
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        image = torch.rand(4, 2, 8, 8, generator=generator)
        mask = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
        mask[index, 0, 1:3, 1:3] = True
        yield Slices(
            f"s{index}",
            image,
            mask,
            torch.ones_like(mask),
            torch.arange(4) * 2,
            mask.flatten(1).any(1),
            f"digest{index}",
        )


def test_batches_hold_what_was_stored(tmp_path):
    store = build_store(tmp_path / "store", {"size": 8}, cases())
    batch = store.batch(np.array([5, 0, 9]))
    originals = list(cases())
    for row, (case, number) in enumerate([(1, 1), (0, 0), (2, 1)]):
        assert torch.allclose(batch["image"][row], originals[case].image[number], atol=5e-4)
        assert torch.equal(batch["mask"][row], originals[case].mask[number])
        assert batch["subject"][row] == case
        assert batch["slice"][row] == number * 2
    assert batch["image"].dtype == torch.float32
    assert batch["region_weight"][batch["mask"]].unique().tolist() == [0.25]
    assert store.anomalous.tolist() == [row % 4 == row // 4 for row in range(12)]


def test_the_fingerprint_follows_settings_and_content(tmp_path):
    first = build_store(tmp_path / "a", {"size": 8}, cases()).fingerprint
    assert build_store(tmp_path / "b", {"size": 8}, cases()).fingerprint == first
    assert build_store(tmp_path / "c", {"size": 9}, cases()).fingerprint != first
    assert build_store(tmp_path / "d", {"size": 8}, cases(2)).fingerprint != first


@pytest.mark.parametrize("name", ["image.bin", "region.bin", "foreground.bin", "index.bin", "manifest.json"])
def test_a_truncated_store_is_not_read_and_is_built_again(tmp_path, name):
    folder = tmp_path / "store"
    fingerprint = build_store(folder, {}, cases()).fingerprint
    path = folder / name
    path.write_bytes(path.read_bytes()[:-5])
    assert open_store(folder) is None
    assert build_store(folder, {}, cases()).fingerprint == fingerprint
    assert open_store(folder) is not None


def test_an_error_while_building_leaves_nothing(tmp_path):
    def failing():
        yield from cases(1)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_store(tmp_path / "stores/store", {}, failing())
    assert list((tmp_path / "stores").iterdir()) == []


def test_writing_to_the_images_of_a_batch_leaves_the_store_alone(tmp_path):
    store = build_store(tmp_path / "store", {}, cases())
    batch = store.batch(np.array([0]))
    batch["image"].zero_()
    assert store.batch(np.array([0]))["image"].any()
    shutil.rmtree(store.folder)
