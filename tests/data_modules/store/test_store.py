"""The values that a store gives back, from mapped files and from memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from data_modules.base.batch import Slices
from data_modules.base.errors import DataError
from data_modules.store import batches as gather
from data_modules.store.batches import Held
from data_modules.store.format import as_stored
from tests.helpers.data.slices import made_up, several, store_of
from tests.helpers.fake_device import DEVICE, fake_device

ORDER = np.array([5, 0, 9, 11, 5, 2])


def expected(cases, store, indices):
    """The batch that the store should give, from the cases, slice by slice."""
    places = [(case, row) for case in range(len(cases)) for row in range(len(cases[case].number))]
    chosen = [places[index] for index in indices]

    def stack(name):
        return torch.stack([getattr(cases[case], name)[row] for case, row in chosen])

    weights = torch.zeros(len(chosen), 1, *store.shape[1:])
    for at, mask in enumerate(stack("mask")[:, 0]):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        for label in range(1, count + 1):
            weights[at, 0][torch.from_numpy(labels == label)] = 1 / (labels == label).sum()
    return {
        "image": stack("image").half().float(),
        "mask": stack("mask"),
        "foreground": stack("foreground"),
        "region_weight": weights,
        "subject": torch.tensor([case for case, _ in chosen]),
        "slice": stack("number"),
    }


def assert_same(batch, reference):
    assert batch.keys() == reference.keys()
    for key, value in reference.items():
        assert batch[key].dtype == value.dtype, key
        assert torch.equal(batch[key].cpu(), value), key


def test_batches_hold_what_was_stored(tmp_path):
    cases = several()
    store = store_of(tmp_path / "store", cases)
    for indices in (
        ORDER,
        np.arange(12),
        np.array([1]),
        np.flatnonzero(~store.anomalous),
        np.flatnonzero(store.anomalous),
    ):
        assert_same(store.batch(indices), expected(cases, store, indices))
    assert store.anomalous.tolist() == [bool(mask.any()) for case in cases for mask in case.mask]
    assert store.normal.tolist() == [not labelled for case in cases for labelled in case.labelled]
    assert store.normal.sum() < (~store.anomalous).sum()
    assert store.subjects == ["s0", "s1", "s2"]
    assert [geometry["shape"] for geometry in store.geometry] == [[0, 1], [1, 1], [2, 1]]
    assert store.dropped == 1 / 8


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_a_held_store_gives_the_same_batches_without_its_files(tmp_path, storage):
    store = store_of(tmp_path / "store", several(), storage=storage)
    before = store.batch(ORDER)
    assert_same(store.hold("cpu").batch(ORDER), before)
    for path in store.folder.iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    assert_same(store.batch(ORDER), before)


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("storage", ["float16", "uint8"])
@pytest.mark.parametrize("kind", ["mixed", "all anomalous", "normal and full"])
def test_what_a_device_holds_gives_the_same_batches(tmp_path, device, storage, kind):
    cases = several()
    if kind != "mixed":
        masks = [torch.full_like(case.mask, kind == "all anomalous") for case in cases]
        cases = [
            replace(case, mask=mask, foreground=~mask | mask, labelled=mask.flatten(1).any(1))
            for case, mask in zip(cases, masks, strict=True)
        ]
    store = store_of(tmp_path / "store", cases, storage=storage)
    batch = Held.load(store._mapped, device).batch(ORDER)
    assert {tensor.device.type for tensor in batch.values()} == {device}
    assert_same(batch, store.batch(ORDER))
    if device != "cpu":
        assert_same(store.hold(device).batch(ORDER), batch)


def test_nobody_waits_for_a_batch_of_what_a_device_holds(tmp_path):
    store = store_of(tmp_path / "store", several(), storage="uint8")
    before = store.batch(ORDER)
    with fake_device() as device:
        store.hold(DEVICE)
        batch = store.batch(ORDER)
        assert not device.waits
    assert_same({name: part.inner for name, part in batch.items()}, before)


@pytest.mark.parametrize("chunk", [1, 5])
def test_a_device_is_filled_piece_by_piece(tmp_path, monkeypatch, chunk):
    store = store_of(tmp_path / "store", several())
    monkeypatch.setattr(gather, "CHUNK", chunk)
    unpacked = []
    really = gather.Mapped._unpack
    monkeypatch.setattr(gather.Mapped, "_unpack", lambda self, rows: unpacked.append(len(rows)) or really(self, rows))
    held = Held.load(store._mapped, "cpu")
    assert max(unpacked) <= chunk
    assert_same(held.batch(ORDER), store.batch(ORDER))


def test_a_device_with_too_little_memory_is_named(tmp_path, monkeypatch):
    mapped = store_of(tmp_path / "store", several())._mapped
    held = Held.load(mapped, "cpu")
    needed = sum(getattr(held, name).nbytes for name in ("image", "foreground", "mask", "region", "rows", "number"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (needed, 1 << 40))
    assert mapped.held_bytes == pytest.approx(needed, rel=0.2)
    gather._check_memory(torch.device("cuda:0"), needed)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (needed - 1, 1 << 40))
    with pytest.raises(DataError, match=r"cuda:0: holding the slice store takes 0\.0 GiB, and 0\.0 GiB .* are free"):
        Held.load(mapped, "cuda:0")


def test_pictures_of_eight_bits_are_exact_in_uint8(tmp_path):
    case = made_up("a", 0)
    picture = torch.arange(4 * 2 * 63).remainder(256).reshape(4, 2, 9, 7).float() / 255
    exact = Slices("a", picture, case.mask, case.foreground, case.number, case.labelled)
    store = store_of(tmp_path / "store", [exact, made_up("b", 1)], storage="uint8")
    assert torch.equal(store.batch(np.arange(4))["image"], picture)
    assert torch.equal(store.hold("cpu").batch(np.arange(4))["image"], picture)


@pytest.mark.parametrize("low", [-3.0, 0.0, 0.25])
@pytest.mark.parametrize("high", [0.75, 2.0, 40.0])
def test_uint8_keeps_half_a_step_and_zero_per_subject_and_channel(tmp_path, low, high):
    generator = torch.Generator().manual_seed(0)
    case = made_up("a", 0)
    image = low + (high - low) * torch.rand(case.image.shape, generator=generator)
    image[:, 0] /= 10
    image = image * case.foreground
    stored = Slices("a", image, case.mask, case.foreground, case.number, case.labelled)
    store = store_of(tmp_path / "store", [made_up("other", 1), stored], storage="uint8")
    back = store.batch(np.arange(4, 8))["image"]
    steps = (image.amax((0, 2, 3)).clamp(min=0) - image.amin((0, 2, 3)).clamp(max=0)) / 255
    assert ((back - image).abs().amax((0, 2, 3)) <= 0.505 * steps).all()
    assert ((back == 0) | case.foreground).all()
    assert (store.folder / "image.bin").stat().st_size == 2 * image.numel()


@pytest.mark.parametrize("value", [0.0, -2.0, 5.0])
def test_a_constant_image_is_kept_in_uint8(tmp_path, value):
    case = made_up("a", 0)
    image = torch.full_like(case.image, value)
    store = store_of(
        tmp_path / "store",
        [Slices("a", image, case.mask, case.foreground, case.number, case.labelled)],
        storage="uint8",
    )
    assert torch.allclose(store.batch(np.arange(4))["image"], image, rtol=1e-6)


@pytest.mark.parametrize("value", [1e5, -1e5, float("nan"), float("inf")])
def test_what_sixteen_bits_cannot_hold_is_refused(tmp_path, value):
    case = made_up("subject7", 0)
    case.image[1, 1, 2, 2] = value
    with pytest.raises(DataError, match=r"subject7: .* which float16 cannot hold; scale"):
        store_of(tmp_path / "stores/store", [case])
    assert list((tmp_path / "stores").iterdir()) == []


def test_masks_take_a_bit_and_only_where_they_say_something(tmp_path):
    store = store_of(tmp_path / "store", several(1))
    sizes = {path.stem: path.stat().st_size for path in store.folder.glob("*.bin")}
    assert sizes == {"image": 4 * 2 * 63 * 2, "foreground": 3 * 8, "mask": 2 * 8, "region": 8 * 4, "index": 4 * 40}


def test_writing_to_a_batch_leaves_the_store_alone(tmp_path):
    for store in (store_of(tmp_path / "store", several()), store_of(tmp_path / "store", []).hold("cpu")):
        before = {key: value.clone() for key, value in store.batch(ORDER).items()}
        for tensor in store.batch(ORDER).values():
            tensor.zero_()
        assert_same(store.batch(ORDER), before)


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_as_stored_gives_what_a_store_of_some_of_the_slices_gives_back(tmp_path, storage):
    case = made_up("s", 3, slices=9)
    every = 2
    kept = replace(
        case, **{name: getattr(case, name)[::every] for name in ("image", "mask", "foreground", "number", "labelled")}
    )
    store = store_of(tmp_path, [kept], storage=storage)
    given = as_stored(case, storage, slice(None, None, every))
    assert torch.equal(given[::every], store.batch(np.arange(len(store)))["image"])
    assert torch.equal(as_stored(case, storage, [0, 2, 4, 6, 8]), given)
    assert given.shape == case.image.shape
    assert torch.equal(as_stored(kept, storage), given[::every])
