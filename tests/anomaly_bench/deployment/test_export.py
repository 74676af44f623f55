"""A trained model as a file: the model's own numbers in onnxruntime and torch.export, and a data sheet that is true."""

import errno
import importlib.util
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from fakes import pictures_config, volumes_config
from PIL import Image
from small_runs import tiles
from torch.distributions import Normal, kl_divergence

from anomaly_bench.base.errors import ConfigError, OutputError
from anomaly_bench.cli.main import main
from anomaly_bench.config.load import load_config
from anomaly_bench.deployment import export
from anomaly_bench.deployment.datasheet import channels_of, range_of, sources_of, steps_of
from anomaly_bench.deployment.exporter import compare, exportable_row, to_bytes
from anomaly_bench.localization import Localizer
from anomaly_bench.models import AE, CEVAE, VAE, BetaVAE
from anomaly_bench.models.slices import like
from anomaly_bench.predictors import Suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.rules.one_pass import Gradient, Reconstruction
from anomaly_bench.runs.run import run
from data_modules.base.config import AboutConfig, HealthyConfig, LayoutConfig

SMALL = {"channels": (8, 8), "latent": 4}
MODELS = {
    "vae": lambda: VAE((1, 16, 16), network="vit", patch=4, **SMALL),
    "pixel": lambda: BetaVAE((2, 16, 24), beta=4, variance="pixel", attention=2, channels_last=True, **SMALL),
    "ce_vae": lambda: CEVAE((3, 16, 16), network="residual", likelihood="laplace", spatial=True, **SMALL),
    "ae": lambda: AE((1, 32, 32), network="dcgan", likelihood="bernoulli", channels=(4, 8), latent=4),
    "conv3d": lambda: BetaVAE((1, 4, 16, 16), network="conv3d", spatial=True, channels=(4, 4), latent=2),
    "bergmann": lambda: BetaVAE((1, 128, 128), network="bergmann", channels=(4,) * 8, latent=4, variance="optimal"),
}
ROWS = {
    "vae": None,
    "pixel": Reconstruction(smooth=1.0),
    "ce_vae": Reconstruction(smooth=0.7, min_pool=3),
    "ae": Reconstruction(smooth=0.0),
    "conv3d": Reconstruction(smooth=1.0, min_pool=3),
    "bergmann": Reconstruction(smooth=2.0),
}
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)


def in_onnxruntime(content):
    """The outputs, by name, of a file's content for a batch of images, and its data sheet."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX NOT TESTED: pip install 'anomaly-bench[onnx]'")
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]

    def outputs(images):
        return dict(zip(names, map(torch.from_numpy, session.run(None, {"image": images.numpy()})), strict=True))

    return outputs, json.loads(session.get_modelmeta().custom_metadata_map["anomaly_bench.json"])


def in_torch(content):
    files = {"anomaly_bench.json": ""}
    module = torch.export.load(io.BytesIO(content), extra_files=files).module()
    return torch.no_grad()(module), json.loads(files["anomaly_bench.json"])


OPENED = {"onnx": in_onnxruntime, "pt2": in_torch}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_file_says_what_the_model_says_for_any_number_of_images(name):
    torch.manual_seed(1)
    model, row = MODELS[name](), ROWS[name]
    localizer = Localizer(model, {"rec_l1": row or Reconstruction(smooth=0.0)})
    for format in {"pixel": [*OPENED], "conv3d": ["pt2"]}.get(name, ["onnx"]):
        content, differences = to_bytes(localizer, row, {"range": [0.0, 1.0], "channels": ["x̂"]}, format)
        assert str(ROOT).encode() not in content
        assert str(Path.home()).encode() not in content
        outputs, sheet = OPENED[format](content)
        assert sheet == {"range": [0.0, 1.0], "channels": ["x̂"]}
        assert max(differences.values()) < 1e-4
        for count in (1, 3, 6):
            images = torch.rand(count, *model.shape)
            said = outputs(images)
            with frozen(model):
                evidence = Evidence(model, images, torch.ones_like(images[:, :1], dtype=torch.bool))
                wanted = like((row or Reconstruction(smooth=0.0))(evidence), images)
                mean, logvar = evidence.posterior
            kl = torch.zeros(count)
            if name != "ae":
                standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
                kl = kl_divergence(Normal(mean, (0.5 * logvar).exp()), standard).flatten(1).sum(1)
            assert list(said) == ["reconstruction", "rec_l1", "kl"]
            torch.testing.assert_close(said["reconstruction"], evidence.reconstruction, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(said["rec_l1"], wanted, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(said["kl"], kl, rtol=1e-5, atol=1e-4)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training  # as it was


class Undecided(VAE):
    """Encodes bright images otherwise than dark ones, which is for no graph."""

    def encode(self, image):
        return super().encode(image * 2 if image.mean() > 0.5 else image)


@pytest.mark.slow
@pytest.mark.parametrize("format", OPENED)
def test_a_model_that_cannot_be_exported_is_told_in_a_line(format):
    localizer = Localizer(Undecided((1, 16, 16), **SMALL), ["rec_l1"])
    with pytest.raises(
        ConfigError, match=r"^Undecided with model.network=conv: torch.export cannot .*data-dependent"
    ) as error:
        to_bytes(localizer, None, {"range": None}, format)
    assert "\n" not in str(error.value)


def test_a_file_that_says_something_else_is_refused():
    model = VAE((1, 16, 16), **SMALL)
    localizer, row = Localizer(model, {"rec_l1": Reconstruction(smooth=1.0)}), Reconstruction(smooth=1.0)

    def like(images, **changed):
        with frozen(model):
            evidence = Evidence(model, images, torch.ones_like(images, dtype=torch.bool))
            outputs = {"reconstruction": evidence.reconstruction, "rec_l1": row(evidence), "kl": evidence.kl}
        return {name: value + changed.get(name, 0) for name, value in outputs.items()}

    assert max(compare(like, localizer, row, [0.0, 2.0]).values()) < 1e-6
    near = compare(lambda images: like(images, rec_l1=1e-4), localizer, row, [0.0, 2.0])
    assert near["rec_l1"] == pytest.approx(1e-4, rel=1e-2)
    with pytest.raises(
        ConfigError, match=r"the exported rec_l1 differs from the model's by 0\.000102, .*range 1; nothing was"
    ):
        compare(lambda images: like(images, rec_l1=1.02e-4), localizer, row, [0.0, 1.0])
    with pytest.raises(ConfigError, match="the exported kl differs from the model's by nan"):
        compare(lambda images: like(images, kl=torch.nan), localizer, row, [0.0, 1.0])
    with pytest.raises(ConfigError, match="the exported reconstruction"):  # wrong for a single image alone
        compare(lambda images: like(images, reconstruction=float(len(images) == 1)), localizer, row, [0.0, 1.0])
    with pytest.raises(ConfigError, match="the exported rec_l1"):  # the plain error in the place of the row's
        compare(like, localizer, None, [0.0, 1.0])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"rec_l1": Reconstruction(smooth=2.0, min_pool=3)}, None),
        ({"rec_l2": Reconstruction(error="l2")}, "the run has no row rec_l1"),
        ({"rec_l1": Reconstruction(error="l2")}, "the run's row rec_l1 is another predictor than the L1"),
        ({"rec_l1": Gradient("kl")}, "the run's row rec_l1 is another predictor than the L1"),
        ({"rec_l1": Reconstruction(median=5, erode=2)}, "the run's row rec_l1 has median=5, erode=2, which"),
        ({"rec_l1": Reconstruction(noise_samples=4)}, "the run's row rec_l1 has noise_samples=4, which"),
    ],
)
def test_which_row_the_file_can_have(rows, expected):
    row, why_not = exportable_row(Suite(rows, {}, tuple(rows)))
    assert (
        (row, why_not) == (rows["rec_l1"], None) if expected is None else row is None and why_not.startswith(expected)
    )


def test_what_a_sheet_says_of_pictures_and_volumes():
    about = AboutConfig(title="T", homepage="h", citation="C 2020", licence="CC0", access="free")
    pictures = pictures_config(None, about=about)
    assert channels_of(pictures) == ["red", "green", "blue"]
    assert range_of(pictures) == [0.0, 1.0]
    assert "RGB" in steps_of(pictures)
    assert any("antialias=True" in step for step in steps_of(pictures))
    (cut,) = set(steps_of(replace(pictures, squares=True))) - set(steps_of(pictures))
    assert cut.startswith("cut along the longer side into squares")
    assert sources_of(pictures) == [{"name": "tiles", "title": "T", "licence": "CC0", "citation": "C 2020"}]
    assert channels_of(pictures_config(None, color=False)) == ["grey"]
    assert any("luma" in step for step in steps_of(pictures_config(None, color=False)))
    healthy = HealthyConfig(name="well", about=about, layouts={"one": LayoutConfig({"t1": "{subject}.nii.gz"})})
    scale = {"use": "ScaleInBraind", "method": "zscore", "clip": 3.0}
    preprocess = {"spacing": {"use": "Spacingd", "pixdim": [1.0, 1.0, 2.0]}, "crop": None, "scale": scale}
    image = {"t1": "{subject}_t1.nii.gz", "t2": "{subject}_t2.nii.gz"}
    volumes = volumes_config(
        None,
        image=image,
        modality=["t2", "t1"],
        healthy=healthy,
        preprocess=preprocess,
        plane="coronal",
        storage="uint8",
    )
    assert channels_of(volumes) == ["t2", "t1"]
    assert range_of(volumes) == [-3.0, 3.0]
    steps = steps_of(volumes)
    assert steps[1] == preprocess["spacing"]  # of MONAI: as it is
    assert steps[2].items() > scale.items()
    assert "standard deviation 1" in steps[2]["meaning"]
    assert "Raises" not in steps[2]["meaning"]
    assert steps[3].startswith("coronal slices: one slice per step from back to front, its rows from top to bottom")
    assert "0.2 of that square" in steps[5]
    assert "255 steps" in steps[-1]
    assert [source["name"] for source in sources_of(volumes)] == ["well"]
    assert range_of(volumes_config(None)) == [0.0, 2.0]
    assert range_of(volumes_config(None, preprocess={"scale": scale | {"clip": None}})) is None
    assert range_of(volumes_config(None, preprocess={"scale": scale, "own": {"use": "ScaleIntensityd"}})) is None
    json.dumps(steps)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run on small pictures."""
    root = tmp_path_factory.mktemp("trained")
    names = "predictors.only=[rec_l1,rec_l2]"
    run(load_config([*tiles(root), f"out={root / 'runs'}", names, "localization.pictures=0", "localization.fpr=0.02"]))
    (folder,) = (root / "runs").glob("mvtec_ad*")
    return folder


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of it that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("format", OPENED)
def test_the_verb_writes_the_run_and_its_threshold(format, finished, capfd):
    code = main(["export", str(finished), "--format", format])
    out, err = capfd.readouterr()
    path = finished / f"model.{format}"
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: ")
    assert "image (B, 3, 16, 16) to reconstruction, rec_l1, kl\nlargest difference" in out
    outputs, sheet = OPENED[format](path.read_bytes())
    localizer, images = Localizer.load(finished), torch.rand(4, 3, 16, 16)
    score = localizer(images)["rec_l1"]
    torch.testing.assert_close(outputs(images)["rec_l1"], score, rtol=1e-5, atol=1e-6)
    assert torch.equal(score >= sheet["threshold"], localizer.segmented("rec_l1", score))
    assert f"rec_l1 >= {sheet['threshold']:.6g} is anomalous, as at most 0.02 of normal" in out
    record = json.loads((finished / "result.json").read_text())
    told = ("run_id", "dataset", "model", "beta", "seed")
    assert {key: sheet[key] for key in told} == {key: record[key] for key in told}
    expected = {"format": 1, "channels": ["red", "green", "blue"], "size": [16, 16], "range": [0.0, 1.0]}
    expected |= {"threshold_fpr": 0.02, "foreground": "all pixels"}
    expected |= {"predictor": {"row": "rec_l1", "why_not": None, "smooth": 1.0, "min_pool": 0}}
    assert {key: sheet[key] for key in expected} == expected
    assert sheet["data"][0]["licence"].startswith("CC BY-NC-SA 4.0")


@pytest.mark.slow
def test_the_examples_of_the_page_run_as_they_stand(finished, tmp_path, monkeypatch):
    export(finished, tmp_path / "model.onnx")
    export(finished, tmp_path / "model.pt2", "pt2")
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(picture).save("new.png")
    names = {}
    exec(BLOCKS[0], names)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(image, size=(16, 16), mode="bilinear", antialias=True)
    localizer = Localizer.load(finished)
    score = localizer(image)["rec_l1"]
    assert np.abs(names["score"] - score.numpy()).max() <= 0.5 / 255 + 1e-3
    assert names["anomalous"].mean() == pytest.approx(
        float(localizer.segmented("rec_l1", score).float().mean()), abs=0.05
    )
    exec(BLOCKS[1], names)
    assert names["outputs"]["reconstruction"].shape == (8, 3, 16, 16)
    assert len(BLOCKS) == 2


@pytest.mark.slow
def test_without_such_a_row_the_file_has_the_plain_error(trained, tmp_path, monkeypatch):
    localizer = Localizer.load(trained, ["rec_l2"])
    monkeypatch.setattr(Localizer, "load", classmethod(lambda *_: localizer))
    done = export(trained, tmp_path / "sub" / "plain.pt2", "pt2")
    outputs, sheet = in_torch(done.path.read_bytes())
    images = torch.rand(2, 3, 16, 16)
    said = outputs(images)
    torch.testing.assert_close(said["rec_l1"], (images - said["reconstruction"]).abs().mean(1, keepdim=True))
    assert sheet["threshold"] is None
    assert sheet["predictor"] == {"row": None, "why_not": "the run has no row rec_l1", "smooth": 0.0, "min_pool": 0}
    assert sheet == done.sheet


@pytest.mark.slow
def test_what_cannot_be_written_is_told_in_a_line_and_leaves_nothing(finished, cli, tmp_path, monkeypatch):
    there = tmp_path / "there.pt2"
    there.write_bytes(b"mine")
    before = sorted(finished.iterdir())

    def said(*arguments):
        code, out, err = cli("export", *map(str, arguments))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        return err

    assert f"{there}: exists already; --overwrite" in said(finished, "--format", "pt2", "--out", there)
    assert there.read_bytes() == b"mine"
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(SystemExit, match="2"):
        said(finished, "--format", "pt2", "--out", tmp_path / "folder.pt2", "--overwrite")
    assert "expected a name that ends in .onnx, as --format onnx says" in said(finished, "--out", tmp_path / "a.pt2")
    assert "there is no such folder; name the folder" in said(tmp_path / "nowhere")
    assert "runs-*: export takes one run and no pattern" in said(tmp_path / "runs-*")
    assert "no run; name the folder" in said(tmp_path, "--format", "pt2", "--out", tmp_path / "b.pt2")
    pt2 = ("--format", "pt2")
    with pytest.raises(ConfigError, match="--format tflite: expected onnx or pt2"):
        export(finished, format="tflite")
    with monkeypatch.context() as patch:
        found = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
        assert "onnxruntime is not installed; pip install 'anomaly-bench[onnx]', or take --format pt2" in said(finished)

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert "the disk is full: free some space or choose another file (--out FILE)" in said(finished, *pt2)
    with pytest.raises(OutputError, match="it is no folder"):
        export(finished, there / "c.pt2", "pt2")
    assert sorted(finished.iterdir()) == before
    assert cli("export", str(finished), *pt2, "--out", str(there), "--overwrite")[0] == 0
    assert there.read_bytes() != b"mine"
    model = finished / "model.ckpt"
    model.write_bytes(model.read_bytes()[:1000])
    assert f"{model}: expected the model of a finished run" in said(finished, *pt2)
    (finished / "result.json").unlink()
    assert "no finished run: it has a config, but no result.json yet" in said(finished, *pt2)
