"""Small copies of the shipped picture datasets: the folder and file names as distributed."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly_bench.config.load import load_config
from data_modules.modules.build import build_module
from data_modules.modules.pictures import PictureDataModule

SIDE = 16


@dataclass
class Copy:
    """A small dataset on disk: its root and, by subject, (pool, mask or None, attributes) as they should be found."""

    root: Path
    expected: dict[str, tuple[str, np.ndarray | None, dict[str, str]]] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def save(self, name: str, pixels: np.ndarray) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def picture(self, name: str, pool: str, grey: bool = False, subject: str | None = None, **attributes: str) -> None:
        self.save(name, self.rng.integers(0, 256, (SIDE, SIDE, 3)[: 2 if grey else 3]).astype(np.uint8))
        self.expected[subject or name] = (pool, None, attributes)

    def anomaly(self, name: str, mask: str, value: int = 255, subject: str | None = None, **attributes: str) -> None:
        self.picture(name, "test", subject=subject, **attributes)
        defect = np.zeros((SIDE, SIDE), bool)
        top, left = self.rng.integers(0, SIDE - 5, 2)
        defect[top : top + 4, left : left + 5] = True
        self.save(mask, defect * np.uint8(value))
        self.expected[subject or name] = ("test", defect, attributes)

    def note(self, name: str, text: str = "as distributed\n") -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)


def mvtec_ad(root: Path) -> Copy:
    copy = Copy(root)
    for category, defect in (("bottle", "broken_large"), ("cable", "bent_wire")):
        copy.note(f"{category}/license.txt")
        copy.note(f"{category}/readme.txt")
        for index in range(12):
            copy.picture(f"{category}/train/good/{index:03d}.png", "train", category=category)
        for index in range(3):
            copy.picture(f"{category}/test/good/{index:03d}.png", "test", category=category)
            name = f"{category}/test/{defect}/{index:03d}.png"
            mask = f"{category}/ground_truth/{defect}/{index:03d}_mask.png"
            copy.anomaly(name, mask, category=category, defect=defect)
    return copy


def mvtec_ad_2(root: Path) -> Copy:
    copy = Copy(root)
    copy.note("can/license.txt")
    for index in range(6):
        copy.picture(f"can/train/good/{index:03d}_regular.png", "train", category="can")
        copy.picture(f"can/validation/good/{index:03d}_regular.png", "val", category="can")
        copy.save(f"can/test_private/{index:03d}_regular.png", np.zeros((SIDE, SIDE, 3), np.uint8))
        copy.save(f"can/test_private_mixed/{index:03d}_mixed.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    for index in range(2):
        for light in ("overexposed", "regular", "shift_1", "underexposed"):
            copy.picture(f"can/test_public/good/{index:03d}_{light}.png", "test", category="can")
            mask = f"can/test_public/ground_truth/bad/{index:03d}_{light}_mask.png"
            copy.anomaly(f"can/test_public/bad/{index:03d}_{light}.png", mask, category="can")
    return copy


def visa(root: Path) -> Copy:
    copy, rows = Copy(root), []
    for category in ("candle", "pcb1"):
        copy.note(f"{category}/image_anno.csv", "image,label,mask\n")
        for index in range(14):
            name = f"{category}/Data/Images/Normal/{index:04d}.JPG"
            part = "test" if index % 5 == 4 else "train"
            copy.picture(name, part, category=category)
            rows.append([category, part, "normal", name, ""])
        for index in range(3):
            name, mask = (f"{category}/Data/{kind}/Anomaly/{index:03d}" for kind in ("Images", "Masks"))
            copy.anomaly(f"{name}.JPG", f"{mask}.png", value=index + 1, category=category)
            rows.append([category, "test", "anomaly", f"{name}.JPG", f"{mask}.png"])
    (root / "split_csv").mkdir()
    with (root / "split_csv/1cls.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["object", "split", "label", "image", "mask"], *rows])
    copy.note("split_csv/2cls_fewshot.csv", "object,split,label,image,mask\n")
    return copy


def btad(root: Path) -> Copy:
    copy = Copy(root)
    for category, suffix, mask_suffix in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for index in range(10):
            subject = f"{category}/train/ok/{index:04d}.{suffix}"
            copy.picture(f"BTech_Dataset_transformed/{subject}", "train", subject=subject, category=category)
        for index in range(3):
            subject = f"{category}/test/ok/{index:04d}.{suffix}"
            copy.picture(f"BTech_Dataset_transformed/{subject}", "test", subject=subject, category=category)
            subject = f"{category}/test/ko/{index:04d}.{suffix}"
            mask = f"BTech_Dataset_transformed/{category}/ground_truth/ko/{index:04d}.{mask_suffix}"
            copy.anomaly(f"BTech_Dataset_transformed/{subject}", mask, subject=subject, category=category)
    return copy


def mpdd(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(12):
        subject = f"bracket_black/train/good/{index:03d}.png"
        copy.picture(f"MPDD/{subject}", "train", subject=subject, category="bracket_black")
    for index in range(3):
        subject = f"bracket_black/test/good/{index:03d}.png"
        copy.picture(f"MPDD/{subject}", "test", subject=subject, category="bracket_black")
        subject = f"bracket_black/test/scratches/{index:03d}.png"
        mask = f"MPDD/bracket_black/ground_truth/scratches/{index:03d}_mask.png"
        copy.anomaly(f"MPDD/{subject}", mask, subject=subject, category="bracket_black", defect="scratches")
    return copy


def magnetic_tile(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(20):
        stem = f"MT_Free/Imgs/exp{index % 6 + 1}_num_{1000 * index}"
        copy.picture(f"{stem}.jpg", "any", grey=True)
        copy.save(f"{stem}.png", np.zeros((SIDE, SIDE), np.uint8))
    for index, defect in enumerate(("Blowhole", "Break", "Crack", "Fray", "Uneven")):
        stem = f"MT_{defect}/Imgs/exp1_num_{1000 * (30 + index)}"
        copy.anomaly(f"{stem}.jpg", f"{stem}.png", defect=defect)
    return copy


def kolektor_sdd(root: Path) -> Copy:
    copy = Copy(root)
    for item in (f"kos{index:02d}" for index in range(1, 9)):
        for number in range(4):
            copy.picture(f"{item}/Part{number}.jpg", "any", grey=True, item=item)
            copy.save(f"{item}/Part{number}_label.bmp", np.zeros((SIDE, SIDE), np.uint8))
        copy.anomaly(f"{item}/Part5.jpg", f"{item}/Part5_label.bmp", item=item)
    return copy


def kolektor_sdd_sorted(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(20):
        copy.picture(f"good/{index:03d}.jpg", "any", grey=True)
    for index in range(20, 26):
        copy.anomaly(f"defect/{index:03d}.jpg", f"defect_masks/{index:03d}.png")
    copy.note("groups.csv", "image,item,defect\n")
    return copy


def busi(root: Path) -> Copy:
    copy, top = Copy(root), "Dataset_BUSI_with_GT/"
    for index in range(1, 13):
        name = f"normal/normal ({index})"
        copy.picture(f"{top}{name}.png", "any", subject=f"{name}.png")
        copy.save(f"{top}{name}_mask.png", np.zeros((SIDE, SIDE), np.uint8))
    for index in range(1, 9):
        lesion = ("benign", "malignant")[index % 2]
        name = f"{lesion}/{lesion} ({index})"
        copy.anomaly(f"{top}{name}.png", f"{top}{name}_mask.png", subject=f"{name}.png", lesion=lesion)
        if index == 2:
            second = np.zeros((SIDE, SIDE), bool)
            second[:3, -3:] = True
            copy.save(f"{top}{name}_mask_1.png", second * np.uint8(255))
            pool, mask, attributes = copy.expected[f"{name}.png"]
            assert mask is not None
            copy.expected[f"{name}.png"] = pool, mask | second, attributes
    return copy


def bmad(root: Path) -> Copy:
    copy = Copy(root)
    layouts = {  # category, folder inside, pictures and masks of test/
        "Brain": ("BraTS2021_slice", "test/{}/img", "test/Ungood/label", "Ungood", "train/good", "valid/good/img"),
        "Liver": ("hist_DIY", "test/img/{}", "test/label/Ungood", "Ungood", "train/good", "valid/img/good"),
        "Retina_RESC": (
            "RESC",
            "Test/test/{}",
            "Test/test_label/Ungood",
            "Ungood",
            "Train/train/good",
            "Val/val/good",
        ),
    }
    for category, (inner, pictures, masks, bad, train, valid) in layouts.items():
        top = f"{category}_AD/{inner}"
        for index in range(40):
            copy.picture(f"{top}/{train}/{index:05d}_60.png", "train", category=category)
        copy.picture(f"{top}/{valid}/00100_60.png", "val", category=category)
        for index in range(6):
            copy.picture(f"{top}/{pictures.format('good')}/{index:05d}_61.png", "test", category=category)
            name = f"{index:05d}_62.png"
            copy.anomaly(f"{top}/{pictures.format(bad)}/{name}", f"{top}/{masks}/{name}", category=category)
    return copy


def medianomaly_brats2021(root: Path) -> Copy:
    copy, top = Copy(root), "BraTS2021/"
    for index in range(20):
        name = f"train/BraTS2021_{index:05d}_flair_70.png"
        copy.picture(top + name, "train", grey=True, subject=name)
    for index in range(6):
        name = f"test/normal/BraTS2021_{index:05d}_flair_20.png"
        copy.picture(top + name, "test", grey=True, subject=name)
        name = f"test/tumor/BraTS2021_{index:05d}_flair_80.png"
        mask = f"{top}test/annotation/BraTS2021_{index:05d}_seg_80.png"
        copy.anomaly(top + name, mask, subject=name, number="_80")
    return copy


def folder(root: Path) -> Copy:
    copy = Copy(root)
    for index in range(16):
        copy.picture(f"good/{index}.{('png', 'jpg', 'bmp')[index % 3]}", "any")
    for index in range(4):
        copy.anomaly(f"bad/{index}.{('png', 'jpg')[index % 2]}", f"masks/{index}{('', '_mask')[index % 2]}.png")
    for hidden in (".DS_Store", "._3.png"):  # what macOS leaves behind
        copy.note(f"good/{hidden}")
    return copy


WHOLE = "dataset.category=null"
LAYOUTS = {
    "mvtec_ad": (mvtec_ad, [WHOLE, "dataset.split.val=0.3"]),
    "mvtec_ad_2": (mvtec_ad_2, []),
    "visa": (visa, [WHOLE, "dataset.split.val=0.3"]),
    "btad": (btad, [WHOLE, "dataset.split.val=0.3"]),
    "mpdd": (mpdd, ["dataset.split.val=0.3"]),
    "magnetic_tile": (magnetic_tile, []),
    "kolektor_sdd": (kolektor_sdd, []),
    "kolektor_sdd sorted": (kolektor_sdd_sorted, []),
    "busi": (busi, ["dataset.split.val=0.4"]),
    "bmad": (bmad, [WHOLE]),
    "medianomaly_brats2021": (medianomaly_brats2021, []),
    "folder": (folder, ["dataset.split.salt=f"]),
}
NATIVE = f"dataset.size=[{SIDE},{SIDE}]"


def module(name: str, root: Path, cache: Path, *overrides: str) -> PictureDataModule:
    """The data module of a dataset at the copy's own size; what comes after a space in the name is not read."""
    config = load_config([f"dataset={name.partition(' ')[0]}", f"dataset.root={root}", NATIVE, *overrides])
    return build_module(config.dataset, cache, Path("data"), batch_size=64)
