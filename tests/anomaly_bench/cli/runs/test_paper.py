"""The verb `paper`: which datasets it takes, that it goes on, and that a damaged one costs only itself."""

import pytest
import yaml
from fakes import write_mvtec
from small_runs import SMALL

from anomaly_bench.cli.main import main
from anomaly_bench.cli.runs.paper import at_hand


@pytest.fixture
def two(tmp_path, cache):
    """Arguments for small runs on `sound` and `broken`, two datasets of the user's own; one picture of the latter is none."""
    shared = {
        "kind": "pictures", "domain": "natural", "color": True, "size": [16, 16], "split": {"val": 0.2, "holdout": 0.3},
        "train_normal": ["train/good/{stem}.png"], "test_normal": ["test/good/{stem}.png"],
        "anomalous": ["test/square/{stem}.png"], "mask": "ground_truth/square/{stem}_mask.png",
    }  # fmt: skip
    (tmp_path / "configs/dataset").mkdir(parents=True)
    for seed, name in enumerate(("sound", "broken")):
        (tmp_path / f"configs/dataset/{name}.yaml").write_text(yaml.safe_dump({"name": name, **shared}))
        write_mvtec(tmp_path / "data" / name, seed=seed)
    (tmp_path / "data/broken/train/good/003.png").write_bytes(b"no picture")
    places = ["--config-dir", str(tmp_path / "configs"), f"data_dir={tmp_path / 'data'}"]
    to = ["--out", str(tmp_path / "runs"), "--to", str(tmp_path / "pages/paper.md")]
    small = [*SMALL, "model.channels=[4,8]", "predictors.only=[rec_l1,intensity]", "model.beta=1,4", "seed=0", "jobs=0"]
    return ["paper", "dataset=sound,broken", *places, *to, *small]


@pytest.mark.slow
def test_a_damaged_dataset_costs_only_itself_and_nothing_is_done_twice(cli, two, tmp_path):
    code, out, err = cli(*two)
    assert code == 1
    assert "left out: broken: " in err
    assert "003.png" in err
    results = sorted((tmp_path / "runs").glob("*/result.json"))
    assert len(results) == 2
    assert f"wrote     {tmp_path / 'pages/paper.md'} and" in out
    page = (tmp_path / "pages/paper.md").read_text()
    assert "images of 1 dataset (natural: sound), with beta 1, 4 and seed 0: 2 runs." in page
    assert "![AP over beta on sound](paper/beta_sound.png)" in page
    assert (tmp_path / "pages/paper/beta_sound.png").is_file()
    times = [path.stat().st_mtime_ns for path in results]
    assert cli(*two)[0] == 1
    assert [path.stat().st_mtime_ns for path in results] == times
    assert (tmp_path / "pages/paper.md").read_text() == page


@pytest.mark.slow
def test_dry_run_lists_the_sound_runs_and_does_none(cli, two, tmp_path):
    code, out, err = cli(*two, "--dry-run")
    assert code == 0
    assert "2 runs, 0 done" in out
    assert "sound beta_vae beta=4 seed=0" in out
    assert "left out: broken: " in err
    assert err.count("sound in ") == 1
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert not (tmp_path / "pages").exists()


@pytest.mark.slow
def test_write_only_runs_nothing(cli, two, tmp_path):
    code, _, err = cli(*two, "--write-only")
    assert (code, list(tmp_path.glob("runs/*"))) == (2, [])
    assert "there is no such folder" in err


def test_what_is_wrong_with_every_dataset_is_not_called_lack_of_data(cli):
    code, _, err = cli("paper", "dataset=tiny_texture", "predictors.only=[rec_l9]")
    assert code == 2
    assert "left out: tiny_texture: predictors.only: there is no predictor 'rec_l9'" in err
    assert "no run is left of tiny_texture: mend what is said of each above" in err


@pytest.mark.parametrize("given", [["out='else where'"], ["--out", "else where"]])
def test_the_folder_of_the_runs_is_an_option_or_an_override(cli, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("paper", "--write-only", *given)
    assert code == 2
    assert "else where: there is no such folder" in err
    assert "given twice" in cli("paper", "out=a", *given, "--out", "b")[2]


def test_what_is_found_is_taken_and_what_lacks_is_said_in_a_line(tmp_path, cache, capsys):
    (tmp_path / "mpdd").mkdir()
    write_mvtec(tmp_path / "mvtec_ad/bottle")
    taken = at_hand([f"data_dir={tmp_path}"])
    out = capsys.readouterr().out
    assert taken == ["mvtec_ad", "tiny_brain", "tiny_texture"]
    assert f"takes     mvtec_ad: 34 pictures, {tmp_path / 'mvtec_ad'}\n" in out
    (lacks,) = [line for line in out.splitlines() if line.startswith("lacks")]
    assert "brats, " in lacks
    assert "mvtec_ad, " not in lacks
    assert f"no folder {tmp_path}/NAME; `anomaly-bench data fetch NAME`" in lacks
    (unfit,) = [line for line in out.splitlines() if line.startswith("leaves    mpdd")]
    assert str(tmp_path / "mpdd") in unfit


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["paper", "--help"])
    assert ended.value.code == 0
    assert "example:\n  anomaly-bench paper data_dir=/data --jobs 2" in capsys.readouterr().out
