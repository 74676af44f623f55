import numpy as np
import pytest
import torch
from fakes import write_mvtec
from PIL import Image

from data_modules.config import PictureConfig, SplitConfig
from data_modules.errors import DataError
from data_modules.pictures import ImageDataModule, read_picture


def module(root, cache, **changes):
    config = PictureConfig(
        name="tiles",
        kind="pictures",
        domain="natural",
        root=str(root),
        category="tile",
        train_normal=["{category}/train/good/{stem}.png"],
        test_normal=["{category}/test/good/{stem}.png"],
        anomalous=["{category}/test/{defect}/{stem}.png"],
        mask="{category}/ground_truth/{defect}/{stem}_mask.png",
        size=[16, 16],
        split=SplitConfig(val=0.2, holdout=0.3),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    data = ImageDataModule(config, cache, batch_size=8)
    data.prepare_data()
    data.setup()
    return data


def test_every_picture_is_used_once_and_training_is_normal(mvtec_root, cache):
    data = module(mvtec_root, cache)
    parts = {name: set(indices.tolist()) for name, indices in data.indices.items()}
    assert sum(len(part) for part in parts.values()) == len(data.store) == 34
    assert not any(batch["mask"].any() for batch in data.train_dataloader())
    assert all("train/good" in data.store.subjects[s] for b in data.train_dataloader() for s in b["subject"])
    assert all(bool(mask.any()) for batch in data.val_dataloader()[1] for mask in batch["mask"])
    assert all(batch["foreground"].all() for batch in data.test_dataloader())


def test_shuffling_follows_the_seed(mvtec_root, cache):
    def order(seed):
        data = module(mvtec_root, cache)
        data.seed = seed
        return [int(s) for batch in data.train_dataloader() for s in batch["subject"]]

    assert order(1) == order(1) != order(2)


def test_all_categories_or_one(mvtec_root, cache):
    write_mvtec(mvtec_root / "other", train=6)
    assert len(module(mvtec_root, cache).store) == 34
    assert len(module(mvtec_root, cache, category=None).store) == 50
    with pytest.raises(DataError, match=r"dataset\.category=til; there are other, tile"):
        module(mvtec_root, cache, category="til")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_every_mode_reads_into_the_unit_range(tmp_path, mode):
    grey = np.linspace(0, 255, 64).reshape(8, 8)
    if mode == "I;16":
        Image.fromarray((grey * 257).astype(np.uint16)).save(tmp_path / "a.png")
    else:
        Image.fromarray(grey.astype(np.uint8)).convert(mode).save(tmp_path / "a.png")
    for color in (True, False):
        picture = read_picture(tmp_path / "a.png", color)
        assert picture.shape == (3 if color else 1, 8, 8)
        assert torch.allclose(picture.mean(0), torch.from_numpy(grey / 255).float(), atol=0.006)


def test_exif_rotation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (10, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", color=False).shape == (1, 10, 4)


def lose_mask(root):
    (root / "tile/ground_truth/square/002_mask.png").unlink()


def shrink_mask(root):
    Image.new("L", (12, 12), 255).save(root / "tile/ground_truth/square/002_mask.png")


def empty_mask(root):
    Image.new("L", (24, 24), 0).save(root / "tile/ground_truth/square/002_mask.png")


def truncate(root):
    path = root / "tile/train/good/003.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_mask, r"test/square/002\.png: its mask is missing"),
        (shrink_mask, r"002_mask\.png: the mask has \(12, 12\) pixels"),
        (empty_mask, r"002_mask\.png: the mask of an anomalous picture is empty"),
        (truncate, r"good/003\.png: cannot be read as a picture"),
    ],
)
def test_bad_pictures_are_named(mvtec_root, cache, damage, message):
    damage(mvtec_root)
    with pytest.raises(DataError, match=message):
        module(mvtec_root, cache)


def test_a_root_without_normal_or_anomalous_pictures_says_so(mvtec_root, cache):
    with pytest.raises(DataError, match="no normal picture fits"):
        module(mvtec_root / "tile", cache)
    with pytest.raises(DataError, match="no anomalous picture fits"):
        module(mvtec_root, cache, anomalous=["{category}/bad/{stem}.png"])


@pytest.mark.parametrize("size", [[16], [4, 4], [16, 16, 3]])
def test_bad_sizes_are_refused(mvtec_root, cache, size):
    with pytest.raises(DataError, match=r"dataset\.size="):
        module(mvtec_root, cache, size=size)
