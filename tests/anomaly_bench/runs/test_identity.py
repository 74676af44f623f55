"""What names a run: the keys of its config that decide numbers, the rooms of code, and a user's own code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.load import load_config
from anomaly_bench.predictors import build_suite
from anomaly_bench.runs import code_digest
from anomaly_bench.runs.code_digest import own_code_digests
from anomaly_bench.runs.identity import definition_of
from data_modules.base.config import deciding
from leaderboard.record import read_result

SPLIT = "val test holdout salt group group_gap stratify folds fold train_subjects val_subjects test_subjects"
PIXELS = (
    "name kind size storage layouts layout image label brain_mask unlabelled modality healthy plane anomalous_labels "
    "affine_tolerance preprocess min_foreground slice_step"
)
MODEL = (
    "name kind use options network latent channels spatial attention likelihood sigma variance noise masks mask_size "
    "channels_last patch positions optimizer lr weight_decay beta normalised schedule warmup_epochs cycles cycle_epochs ramp "
    "capacity"
)

TRAINER = "max_epochs patience patience_steps rise lr_factor lr_drops average batch_size accelerator devices precision compile"
LOCALIZATION = "fpr image_share bits smoothing level_images resamples batch_size"


def test_what_defines_a_run_are_these_keys():
    config = load_config(["dataset=ixi_brats", "predictors.only=[ensemble_probit]"])
    definition = definition_of(config, build_suite(config.predictors))
    assert set(definition) == {"dataset", "model", "predictors", "trainer", "localization", "selection"}
    beyond = {"domain", "polarity", "polarities", "duplicates", "augment", "context", "depth", "split"}
    assert set(definition["dataset"]) == {*PIXELS.split(), *beyond}
    assert set(definition["dataset"]["split"]) == set(SPLIT.split())
    assert set(definition["dataset"]["healthy"]) == {"name", "layouts", "layout", "group"}
    assert set(definition["model"]) == set(MODEL.split())
    assert set(definition["trainer"]) == set(TRAINER.split())
    assert set(definition["localization"]) == {*LOCALIZATION.split()}
    assert set(definition["predictors"]) == {"shown", "members"}
    assert definition["predictors"]["shown"] == ["ensemble_probit"]
    assert set(definition["predictors"]["members"]) == {
        "ensemble_probit",
        *config.predictors.members["ensemble_probit"]["members"],
    }
    assert definition["dataset"]["layouts"] == {name: vars(layout) for name, layout in config.dataset.layouts.items()}


def test_metrics_of_ones_own_define_a_run_that_has_some():
    def definition(*keys):
        config = load_config(["dataset=brats", *keys])
        return definition_of(config, build_suite(config.predictors))["localization"]

    assert definition("localization.metrics.own=my_package.own")["metrics"] == {"own": "my_package.own"}
    assert "metrics" not in definition("localization.metrics={}")
    with pytest.raises(
        ConfigError, match=r"localization\.metrics\.own=5: a run names its metrics as package\.module\.Name"
    ):
        definition("localization.metrics.own=5")


def test_what_decides_pixels_are_these_keys():
    settings = deciding(load_config(["dataset=ixi_brats"]).dataset, "pixels")
    assert set(settings) == set(PIXELS.split())
    assert set(settings["healthy"]) == {"name", "layouts", "layout", "group"}
    pictures = deciding(load_config(["dataset=mvtec_ad"]).dataset, "pixels")
    kind = (
        "name kind size storage category normal train_normal val_normal test_normal official_split anomalous mask "
        "mask_threshold mask_union empty_mask_is_normal color convert squares"
    )
    assert set(pictures) == set(kind.split())


def write_package(folder: Path, by: float = 1.0) -> None:
    """my_package.Own, which its __init__.py takes from own.py, which takes a number from helpers.py and one from beside."""
    (folder / "my_package").mkdir(parents=True, exist_ok=True)
    (folder / "my_package/__init__.py").write_text("from .own import Own\n")
    (folder / "my_package/helpers.py").write_text(f"BY = {by}\n")
    (folder / "my_beside.py").write_text("POWER = 1\n")
    (folder / "my_other.py").write_text("")
    (folder / "my_package/own.py").write_text(
        "from dataclasses import dataclass\n"
        "from anomaly_bench.predictors import Predictor, channel_mean\n"
        "from .helpers import BY\n"
        "@dataclass(frozen=True)\n"
        "class Own(Predictor):\n"
        "    def score(self, evidence):\n"
        "        from my_beside import POWER\n"
        "        return channel_mean((evidence.image * BY) ** POWER)\n"
    )


IDENTITIES = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from anomaly_bench.config.load import load_config
from anomaly_bench.runs import code_digest
from anomaly_bench.runs.identity import definition_of, setting_of
from anomaly_bench.predictors import build_suite

data = SimpleNamespace(fingerprint="", split_digest="", store=SimpleNamespace(attributes=[]))
configs = [load_config(["dataset=brats", key]) for key in sys.argv[2:]]
def setting():
    code_digest.source_digest.cache_clear()
    code_digest._own_code_digest.cache_clear()
    return [setting_of(one, definition_of(one, build_suite(one.predictors)), data) for one in configs]
found = [setting()]
for path in json.loads(sys.argv[1]):
    with Path(path).open("a") as stream:
        stream.write("# another line\\n")
    found.append(setting())
print(json.dumps(found))
"""


KEYS = (
    "+predictors.members.own.use",
    "model.use",
    "model.network",
    "model.likelihood",
    "model.schedule",
    "localization.metrics.own",
)


@pytest.mark.slow
def test_an_edit_of_code_that_decides_numbers_makes_another_run_and_one_of_code_that_prints_does_not(tmp_path):
    for package in ("anomaly_bench", "data_modules", "leaderboard", "configs"):
        shutil.copytree(ROOT / package, tmp_path / package)
    write_package(tmp_path / "own")
    edits = {
        "anomaly_bench/base/errors.py": False,
        "anomaly_bench/cli/main.py": False,
        "anomaly_bench/scoring/maps.py": False,
        "anomaly_bench/sweep/bench.py": False,
        "anomaly_bench/tracking/report.py": False,
        "leaderboard/report/page.py": False,
        "own/my_other.py": False,
        "anomaly_bench/models/vae.py": True,
        "data_modules/base/digests.py": True,
        "own/my_package/helpers.py": True,
        "own/my_package/__init__.py": True,
        "own/my_package/own.py": True,
        "own/my_beside.py": True,
    }
    done = subprocess.run(
        [sys.executable, "-c", IDENTITIES, json.dumps(list(edits)), *(f"{key}=my_package.Own" for key in KEYS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(tmp_path / "own")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for found in zip(*json.loads(done.stdout), strict=True):  # of each of KEYS
        assert {path: one != other for path, one, other in zip(edits, found, found[1:], strict=False)} == edits
        assert len(set(found)) == 1 + sum(edits.values())


@pytest.fixture
def digest_of(monkeypatch):
    """The digest of a package's code as it is now, its folder put on Python's path first."""

    def digest(package, *folders):
        for folder in folders:
            monkeypatch.syspath_prepend(folder)
        code_digest._own_code_digest.cache_clear()
        code_digest.packages_distributions.cache_clear()
        return own_code_digests([f"{package}.Own"])[package]

    monkeypatch.setattr(code_digest, "packages_distributions", code_digest.cache(code_digest.packages_distributions))
    yield digest
    code_digest._own_code_digest.cache_clear()


def edited(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "# edited\n")


def test_a_package_is_its_files_at_any_depth_with_or_without_an_init_and_a_module_is_one(tmp_path, digest_of):
    edited(tmp_path / "spacious/deep/own.py")
    before = digest_of("spacious", tmp_path)
    edited(tmp_path / "spacious/.venv/lib/other.py")
    edited(tmp_path / "spacious/env/site-packages/other.py")
    edited(tmp_path / "spacious/data.csv")
    assert digest_of("spacious") == before
    edited(tmp_path / "spacious/deep/own.py")
    assert digest_of("spacious") != before
    (tmp_path / "single.py").write_text("if True:\n    import spacious\n")
    before = digest_of("single")
    edited(tmp_path / "spacious/deep/more.py")
    assert digest_of("single") != before
    (tmp_path / "spacious/template.py").write_text("class {{ name }}:\n")  # no Python, and not imported
    assert digest_of("spacious") != before


def test_of_what_is_installed_only_the_same_distribution_counts(tmp_path, digest_of):
    site = tmp_path / "site-packages"
    for name in ("mine", "mine_too", "theirs"):
        edited(site / name / "__init__.py")
    (site / "mine/__init__.py").write_text("import theirs, mine_too, numpy, not_there\n")
    for distribution, names in {"mine": ["mine", "mine_too"], "theirs": ["theirs"]}.items():
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("\n".join(names))
    before = digest_of("mine", site)
    edited(site / "theirs/__init__.py")
    assert digest_of("mine") == before
    edited(site / "mine_too/__init__.py")
    assert digest_of("mine") != before
    (tmp_path / "code").mkdir()
    (tmp_path / "code/local.py").write_text("import mine\n")
    before = digest_of("local", tmp_path / "code")
    edited(site / "mine/__init__.py")
    assert digest_of("local") == before


def test_what_is_named_in_this_package_is_in_the_digest_of_its_rooms():
    assert own_code_digests(["anomaly_bench.models.BetaVAE"]) == {}


@pytest.mark.slow
def test_bench_does_a_run_again_whose_users_helper_has_changed_and_says_that_the_code_differs(
    cli, pictures_run, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path / "own")
    arguments = [
        "bench",
        *pictures_run,
        "+predictors.members.own={use:my_package.Own,smooth:0}",
        "predictors.only=[own]",
    ]
    values = []
    for by in (1.0, -10.0):
        write_package(tmp_path / "own", by)
        assert cli(*arguments)[0] == 0
        found = [read_result(path) for path in (tmp_path / "runs").glob("*/result.json")]
        values.append({result.predictors["own"].test["auroc"].value for result in found})
    first, both = values
    assert first < both
    assert sum(both) == pytest.approx(1.0)  # one is the other upside down
    assert {tuple(result.provenance.own_code) for result in found} == {("my_package",)}
    text = (tmp_path / "runs/leaderboard.md").read_text()
    assert "differ in provenance.own_code.my_package; never averaged" in text
