"""Fashion-MNIST for anomaly localization: one class is normal, patches pasted from the others are the anomalies."""

from __future__ import annotations

import gzip
import math
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.base.atomic import is_whole, publish
from data_modules.base.digests import digest_of, hash_of
from data_modules.base.errors import DataError
from data_modules.cases.patterns import Tree

CLASSES = (
    "tshirt_top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle_boot",
)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDES = (6, 14)  # of a patch, in pixels
VISIBLE, AREA = 32, 16  # a patch changes at least AREA pixels by at least VISIBLE of 255 grey levels
TRIES = 1000
Progress = Callable[[int, int], None]
Grey = NDArray[np.uint8]
Numbers = dict[tuple[str, int], list[int]]


def fashion_mnist_pictures(
    root: Path, cache_dir: Path, classes: Sequence[str] | None, progress: Progress | None = None
) -> Path:
    """The folder in the cache with PNG files of the classes (None: all ten), made now from the files below root if need be.

    Layout, for each class: `train/good/00000.png`, `test/good/00000.png`, `test/DONOR/00001.png` and
    `ground_truth/DONOR/00001_mask.png`, 28 × 28 grey. Every other test picture of the class has a patch pasted from a
    picture of the class DONOR; its mask (255) is the pixels that this changed. A number is the picture's place in its class;
    of equal pictures, of one class or of several, only the first is written. The same files give the same bytes.
    progress is called with (classes done, classes). Raises DataError for an unknown class and for missing or damaged files.
    """
    wanted = list(CLASSES) if classes is None else list(classes)
    if unknown := [name for name in wanted if name not in CLASSES]:
        raise DataError(
            f"dataset.category={', '.join(unknown)}: no class of Fashion-MNIST; it has {', '.join(CLASSES)}"
        )
    paths = _locate(root)
    folder = cache_dir / "converted" / f"fashion_mnist-{_digest(paths)}"
    missing = [name for name in wanted if not is_whole(folder / name)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = [read_idx(path) for path in paths]
        _check(paths, arrays)
        numbers = _first_of_equals(*arrays)
        for done, name in enumerate(missing):
            if progress:
                progress(done, len(missing))
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as scratch:
                _write_class(Path(scratch) / name, CLASSES.index(name), arrays, numbers)
                publish(Path(scratch) / name, folder / name)
    return folder


def read_idx(path: Path) -> Grey:
    """The array of unsigned bytes in an IDX file, packed by gzip or not. Raises DataError naming a file that is none."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); download it again") from error
    head = 4 + 4 * (content[3] if len(content) > 3 else 0)
    shape = [int.from_bytes(content[start : start + 4]) for start in range(4, head, 4)]
    if content[:3] != b"\0\0\x08" or len(content) != head + math.prod(shape):
        raise DataError(
            f"{path}: is no whole IDX file of bytes (shape {shape}, {len(content)} bytes); download it again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def paste(rng: np.random.Generator, picture: Grey, donors: Sequence[Grey]) -> tuple[Grey, NDArray[np.bool_], int]:
    """The picture (H, W) with a patch of another one, the pixels that changed, and which group the other one is of.

    donors: pictures (n, H, W) of each group, drawn from alike. Patches that would hardly show are drawn again.
    Raises DataError if none shows.
    """
    for _ in range(TRIES):
        group = int(rng.integers(len(donors)))
        donor = donors[group][rng.integers(len(donors[group]))]
        height, width = rng.integers(SIDES[0], SIDES[1] + 1, 2)
        (top, left), (from_top, from_left) = (
            (rng.integers(picture.shape[0] - height + 1), rng.integers(picture.shape[1] - width + 1)) for _ in range(2)
        )
        pasted = picture.copy()
        pasted[top : top + height, left : left + width] = donor[
            from_top : from_top + height, from_left : from_left + width
        ]
        change = np.abs(pasted.astype(np.int16) - picture)
        if (change >= VISIBLE).sum() >= AREA:
            return pasted, change > 0, group
    raise DataError("no patch of another class shows on a test picture of Fashion-MNIST; download its files again")


def _write_class(folder: Path, label: int, arrays: Sequence[Grey], numbers: Numbers) -> None:
    train, train_labels, test, test_labels = arrays
    pictures = train[train_labels == label]
    for index in numbers["train", label]:
        _save(pictures[index], folder / f"train/good/{index:05d}.png")
    pictures = test[test_labels == label]
    others = [other for other in range(len(CLASSES)) if other != label]
    donors = [test[test_labels == other] for other in others]
    for index in numbers["test", label]:
        picture = pictures[index]
        if index % 2 == 0:
            _save(picture, folder / f"test/good/{index:05d}.png")
            continue
        pasted, changed, group = paste(np.random.default_rng([label, index]), picture, donors)
        donor = CLASSES[others[group]]
        _save(pasted, folder / f"test/{donor}/{index:05d}.png")
        _save(np.where(changed, 255, 0).astype(np.uint8), folder / f"ground_truth/{donor}/{index:05d}_mask.png")


def _first_of_equals(train: Grey, train_labels: Grey, test: Grey, test_labels: Grey) -> Numbers:
    """Per split and class the numbers of the pictures that no picture of an earlier class or split equals.

    A copy in another split would leak. All classes are looked at, so that none depends on which are asked for.
    """
    seen: set[bytes] = set()
    numbers: Numbers = {}
    for label in range(len(CLASSES)):
        for split, pictures in (("train", train[train_labels == label]), ("test", test[test_labels == label])):
            kept = numbers[split, label] = []
            for index, picture in enumerate(pictures):
                content = picture.tobytes()
                if content not in seen:
                    seen.add(content)
                    kept.append(index)
    return numbers


def _locate(root: Path) -> list[Path]:
    tree = Tree(root)
    candidates = [[path for end in ("", ".gz") for path, _ in tree.find(f"**/{name}{end}")] for name in FILES]
    if missing := [name for name, paths in zip(FILES, candidates, strict=True) if not paths]:
        raise DataError(f"{root}: {missing[0]}.gz is missing; set dataset.root to the folder with the four files")
    return [root / paths[0] for paths in candidates]


def _check(paths: Sequence[Path], arrays: Sequence[Grey]) -> None:
    for path, images, labels in ((paths[0], arrays[0], arrays[1]), (paths[2], arrays[2], arrays[3])):
        if images.ndim != 3 or labels.shape != images.shape[:1] or min(images.shape[1:]) < SIDES[1]:
            raise DataError(
                f"{path}: holds an array {images.shape} for labels {labels.shape}; expected (n, 28, 28) for (n,): "
                "download it again"
            )
        if set(np.unique(labels)) != set(range(len(CLASSES))):
            raise DataError(f"{path}: its labels are not 0 to {len(CLASSES) - 1}; download them again")


def _digest(paths: Sequence[Path]) -> str:
    """12 hexadecimal digits that change with the content of the files and with this source."""
    return hash_of([digest_of(path) for path in (*paths, Path(__file__))], 6)


def _save(pixels: Grey, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
