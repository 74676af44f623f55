"""Whole files of every kind that is read, small and made by code: what fuzzing starts from."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nibabel as nib
import numpy as np
from PIL import Image

import leaderboard
from anomaly_bench.config.load import load_config, to_yaml
from leaderboard.results.collect import PlannedRun, Sweep
from tests.helpers.small_results import result

GREY = ("grey", "deep", "plain.tif", "float", "pages")
Files = list[tuple[str, bytes]]

OVERRIDES = (
    "dataset=tiny_brain seed=0",
    "dataset=tiny_texture,tiny_brain model.beta=1,4 seed=range(3)",
    "model=beta_vae model.latent=16 model.variance=fixed model.sigma=0.1",
    "dataset.size=[32,32] trainer.batch_size=16 trainer.max_epochs=2",
    "predictors.only=[rec_l1,grad_kl] predictors.members.rec_l1.smooth=null",
    "dataset.split.test=0.3 dataset.split.folds=5 dataset.split.fold=0",
    "trainer=short trainer.precision=bf16-mixed trainer.accelerator=cpu engine.threads=1",
    "out='a\u00a0folder' localization.smoothing=[0,1,2] +predictors.members.own={use:rec_l1}",
    "experiment=beta_sweep logger=csv seed=0",
)
BASELINE = Path(leaderboard.__file__).parent / "baselines/tiny_brain.json"


def corpus() -> dict[str, Files]:
    """Names and contents by target (see `fuzzing.TARGETS`)."""
    volumes, pictures, arrays = list(_volumes()), list(_pictures()), list(_arrays())
    run = result(predictors={"grad_kl": 0.9, "rec_l1": {"validation": 0.5}})
    plan = Sweep(
        [PlannedRun(run.run_id, run.setting_id, "tiny", "vae", 1.0, 0, "tiny/vae/0")], {run.setting_id: "latent=16"}
    )
    split = json.dumps({"train": ["a", "b"], "val": ["c"], "test": ["d"]}).encode()
    return {
        "volume": volumes,
        "like": volumes,
        "picture": pictures,
        "mask": list(_masks()),
        "map": [*arrays, *(file for file in pictures if file[0].startswith(GREY)), *volumes[:4]],
        "result": [("result.json", msgspec.json.encode(run))],
        "sweep": [("sweep.json", msgspec.json.encode(plan))],
        "baseline": [("baseline.json", BASELINE.read_bytes())],
        "split": [("split.json", split)],
        "subjects": [("subjects.csv", b"subject,age,split\na,31,train\nb,,train\nc,7,val\nd,70,test\n")],
        "config": [("config.yaml", to_yaml(load_config(["dataset=tiny_texture"])).encode())],
        "overrides": [("overrides.txt", line.replace(" ", "\n").encode()) for line in OVERRIDES],
        "archive": list(_archives()),
    }


def _volumes() -> Iterator[tuple[str, bytes]]:
    values = np.random.default_rng(0).integers(0, 900, (5, 6, 4)).astype(np.int16)
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    scaled = nib.Nifti1Image(values, affine)
    scaled.header.set_slope_inter(0.5, 10.0)
    yield "int16.nii", scaled.to_bytes()
    yield "float.nii", nib.Nifti1Image(values.astype(np.float32) / 7, affine).to_bytes()
    yield "two.nii", nib.Nifti2Image(values.astype(np.uint8), affine).to_bytes()
    yield "packed.nii.gz", gzip.compress(scaled.to_bytes(), mtime=0)
    yield "freesurfer.mgh", nib.MGHImage(values.astype(np.float32), affine).to_bytes()
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 2 3\nDimSize = 5 6 4\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    yield "meta.mha", header.encode() + values.tobytes(order="F")


def _pictures() -> Iterator[tuple[str, bytes]]:
    values = np.random.default_rng(1).integers(0, 256, (9, 12, 4)).astype(np.uint8)
    color = Image.fromarray(values[..., :3])
    grey, deep = Image.fromarray(values[..., 0]), Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    kinds = [
        ("grey.png", grey, {}),
        ("color.png", color, {}),
        ("alpha.png", Image.fromarray(values), {}),
        ("palette.png", color.quantize(16), {"transparency": 3}),
        ("deep.png", deep, {}),
        ("turned.jpg", color, {"exif": exif}),
        ("progressive.jpg", grey, {"progressive": True}),
        ("plain.tif", grey, {}),
        ("packed.tif", color, {"compression": "tiff_lzw"}),
        ("deep.tif", deep, {"compression": "tiff_adobe_deflate"}),
        ("float.tif", Image.fromarray(values[..., 0].astype(np.float32) / 255), {}),
        ("pages.tif", grey, {"save_all": True, "append_images": [grey, grey]}),
        ("plain.bmp", color, {}),
    ]
    for name, picture, options in kinds:
        out = io.BytesIO()
        picture.save(out, {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP"}[name[-3:]], **options)
        yield name, out.getvalue()


def _masks() -> Iterator[tuple[str, bytes]]:
    mask = Image.new("L", (12, 9))
    mask.paste(255, (3, 2, 8, 6))
    for name, picture, kind in (
        ("grey.png", mask, "PNG"),
        ("bits.png", mask.convert("1"), "PNG"),
        ("grey.tif", mask, "TIFF"),
        ("color.bmp", mask.convert("RGB"), "BMP"),
    ):
        out = io.BytesIO()
        picture.save(out, kind)
        yield name, out.getvalue()


def _arrays() -> Iterator[tuple[str, bytes]]:
    values = np.random.default_rng(2).random((2, 5, 7))
    for name, array in (
        ("float.npy", values),
        ("fortran.npy", np.asfortranarray(values[0])),
        ("bool.npy", values > 0.5),
    ):
        out = io.BytesIO()
        np.save(out, array)
        yield name, out.getvalue()


def _archives() -> Iterator[tuple[str, bytes]]:
    members = [("set/a.txt", b"one" * 50), ("set/deep/b.txt", b"two"), ("./c", b""), ("é" * 60, b"four")]
    for kind, format in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.LNKTYPE, "set/a.txt"
            tar.addfile(link)
        yield f"{kind}.tar", out.getvalue()
    yield "packed.tar.gz", gzip.compress(out.getvalue(), mtime=0)
    yield "packed.tar.xz", lzma.compress(out.getvalue(), preset=0)
    yield "packed.tar.bz2", bz2.compress(out.getvalue())
    for name, packing in (
        ("stored", zipfile.ZIP_STORED),
        ("deflated", zipfile.ZIP_DEFLATED),
        ("lzma", zipfile.ZIP_LZMA),
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", packing) as archive:
            for name_of, content in members:
                archive.writestr(zipfile.ZipInfo(name_of), content, packing)
        yield f"{name}.zip", out.getvalue()
    yield "single.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)
