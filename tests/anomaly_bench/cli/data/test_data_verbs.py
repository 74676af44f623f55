import errno
import json
import os
import shutil
import subprocess
import sys
import time
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.cli.data.describe import sparkline
from anomaly_bench.cli.data.verify import print_findings
from anomaly_bench.cli.main import main
from anomaly_bench.config.load import load_config
from data_modules.base.locks import locked
from data_modules.base.options.folders import CONFIG_DIR_VARIABLE, config_dir, options_of, searching
from data_modules.catalog import fetch
from data_modules.catalog.fetch import FetchReport
from data_modules.inspect.findings import Findings, Problem
from data_modules.store.folders import list_stores

pytestmark = pytest.mark.slow

VERBS = ("list", "describe", "verify", "prepare", "fetch", "ls", "rm")


@pytest.fixture
def brats(brats_root, cache):
    split = ["dataset.split.val=0.3", "dataset.split.test=0.3", "dataset.split.salt=b"]
    return ["dataset=brats", f"dataset.root={brats_root}", "dataset.size=[16,16]", *split]


@pytest.fixture
def own_configs(brats_root, tmp_path):
    """A folder with the user's own dataset `mine`."""
    mine = {
        "name": "mine",
        "kind": "nifti",
        "domain": "medical",
        "root": str(brats_root),
        "image": {"flair": "{subject}/{subject}_flair.nii.gz"},
        "label": "{subject}/{subject}_seg.nii.gz",
        "modality": ["flair"],
    }
    folder = tmp_path / "my configs, [new]"
    (folder / "dataset").mkdir(parents=True)
    (folder / "dataset/mine.yaml").write_text(yaml.safe_dump(mine))
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", verb, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example:\n  anomaly-bench data {verb}" in out
    assert "--debug" in out


def test_list_names_every_dataset_and_where_it_is_expected(cli, cache, brats_root, tmp_path, monkeypatch):
    monkeypatch.setattr("rich.console.Console.width", property(lambda self: 80))
    code, out, err = cli("data", "list", f"data_dir={tmp_path}")
    assert code == 0, err
    for path in (config_dir() / "dataset").glob("*.yaml"):
        assert f"\n{path.stem} " in f"\n{out}"
    assert str(tmp_path / "open_ms") in out
    line = next(line for line in out.splitlines() if line.startswith("brats "))
    assert "here, 8" in line
    assert str(brats_root) in line
    monkeypatch.setattr("data_modules.base.options.folders.options_of", lambda group: ["brats", "tiny_brain"])
    code, out, _ = cli("data", "list", f"data_dir={tmp_path}", "--json", "-")
    entries = {entry["option"]: entry for entry in json.loads(out)}
    assert entries["brats"]["state"] == "here"
    assert entries["brats"]["subjects"] == 8
    assert entries["tiny_brain"]["state"] == "on first use"


def test_describe_prints_numbers_and_writes_pictures(cli, brats, tmp_path):
    code, out, err = cli(
        "data", "describe", *brats, "--out", str(tmp_path / "out"), "--json", str(tmp_path / "found.json")
    )
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["histograms.png", "sheet.png"]
    (plain,) = json.loads((tmp_path / "found.json").read_text())
    assert plain["pictures"] == [str(tmp_path / "out/sheet.png"), str(tmp_path / "out/histograms.png")]
    assert f"{plain['parts']['all']['share']:.3%}" in out
    assert plain["fingerprint"] in out
    assert str(tmp_path / "out/sheet.png") in out


def test_describe_of_two_datasets_has_a_folder_for_each(cli, brats, tmp_path):
    both = [text.replace("[16,16]", "[16,16],[8,8]") for text in brats]
    code, out, err = cli("data", "describe", *both, "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert len(list((tmp_path / "out").glob("brats-*/sheet.png"))) == 2
    assert "16×16 pixels" in out
    assert "8×8 pixels" in out


def test_verify_names_all_problems_and_exits_with_1(cli, brats, brats_root, tmp_path):
    assert cli("data", "verify", *brats)[0] == 0
    (brats_root / "BraTS2021_00001/BraTS2021_00001_seg.nii.gz").unlink()
    broken = brats_root / "BraTS2021_00002/BraTS2021_00002_flair.nii.gz"
    broken.write_bytes(broken.read_bytes()[:300])
    code, out, _ = cli("data", "verify", *brats, "--json", str(tmp_path / "found.json"))
    assert code == 1
    assert "BraTS2021_00001" in out
    assert "BraTS2021_00002/BraTS2021_00002_flair.nii.gz\n" in out
    assert "→ " in out
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert [problem["level"] for problem in found["problems"]].count("error") == 2
    assert "not fit for a run: 2 errors" in out


def test_prepare_builds_the_store_that_a_run_takes(cli, brats, cache):
    code, out, err = cli("data", "prepare", *brats)
    assert code == 0, err
    (store,) = list_stores(cache)
    assert store.folder.name in out
    assert "fingerprint " in out
    assert "8 subjects" in out
    assert cli("data", "prepare", *brats)[1] == out
    assert len(list_stores(cache)) == 1


def test_prepare_writes_only_what_has_to_be_built(cli, brats, cache, monkeypatch):
    out = cli("data", "prepare", *brats)[1]

    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    assert cli("data", "prepare", *brats)[:2] == (0, out)
    code, _, err = cli("data", "prepare", *brats, "dataset.storage=uint8")
    assert code != 0
    assert "it is read-only: choose another folder (cache_dir=FOLDER" in " ".join(err.split())


@pytest.mark.parametrize("days", ["-1", "nan", "x"])
def test_rm_refuses_what_is_no_number_of_days(cli, days, capsys):
    with pytest.raises(SystemExit):
        cli("data", "rm", "--unused-for", days)


def test_ls_and_rm(cli, brats, cache):
    for size in ("[16,16]", "[8,8]"):
        cli("data", "prepare", *brats[:2], f"dataset.size={size}", *brats[3:])
    first, second = list_stores(cache)
    code, out, _ = cli("data", "ls")
    assert code == 0
    assert out.count("whole") == 2
    assert {entry["name"] for entry in json.loads(cli("data", "ls", "--json", "-")[1])} == {first.name}
    assert "2 slice stores" in cli("data", "rm", "--all", "--dry-run")[1]
    assert len(list_stores(cache)) == 2
    code, out, _ = cli("data", "rm", first.folder.name)
    assert f"removed {first.folder}" in out
    assert [info.folder for info in list_stores(cache)] == [second.folder]
    os.utime(second.folder, (time.time() - 40 * 86400,) * 2)
    assert "0 slice stores" in cli("data", "rm", "--unused-for", "50")[1]
    assert "1 slice store," in cli("data", "rm", "--unused-for", "30")[1]
    assert list_stores(cache) == []
    code, _, err = cli("data", "rm", "nothing")
    assert code == 2
    assert "anomaly-bench data ls" in err


def test_rm_keeps_a_store_that_is_in_use_and_says_so(cli, brats, cache):
    cli("data", "prepare", *brats)
    (store,) = list_stores(cache)
    with locked(store.folder):
        code, out, err = cli("data", "rm", "--all")
    assert code == 1
    assert "0 slice stores" in out
    assert str(store.folder) in err
    assert len(list_stores(cache)) == 1


@pytest.mark.parametrize("done", [True, False])
def test_fetch_passes_on_what_was_asked_and_says_what_happened(cli, cache, tmp_path, monkeypatch, done):
    calls = []

    def fake(name, about, target, accept=False, progress=None, tell=None):
        calls.append((name, target, accept))
        progress(1, 2)
        return FetchReport(done, "so it is", target)

    monkeypatch.setattr(fetch, "fetch", fake)
    code, out, err = cli("data", "fetch", "open_ms", "--accept-licence", "--data-dir", str(tmp_path))
    assert code == (0 if done else 2)
    assert out == "so it is\n"
    by_hand = f"anomaly-bench: {tmp_path / 'open_ms'}: no program can fetch this; take the steps that are told\n"
    assert err.endswith(by_hand) != done
    assert calls == [("open_ms", tmp_path / "open_ms", True)]


def test_fetch_gets_the_healthy_cohort_too(cli, cache, tmp_path, monkeypatch):
    got = []

    def fake(name, about, target, accept=False, progress=None, tell=None):
        got.append((name, target))
        return FetchReport(True, f"{name} is there", target)

    monkeypatch.setattr(fetch, "fetch", fake)
    code, out, err = cli("data", "fetch", "ixi_brats", "--data-dir", str(tmp_path))
    assert code == 0, err
    assert [name for name, _ in got] == ["ixi_brats", "ixi"]
    assert got[1][1] == tmp_path / "ixi"
    assert "ixi is there" in out
    assert "ixi_brats is two datasets: one to test on" in " ".join(err.split())


def test_the_steps_to_a_dataset_fit_the_terminal(cli, cache, monkeypatch):
    monkeypatch.setattr("rich.console.Console.width", property(lambda self: 60))
    code, out, err = cli("data", "fetch", "oasis1")
    assert (code, err.count("\n")) == (2, 1)
    assert max(len(line) for line in out.splitlines() if " " in line) <= 60
    (found,) = json.loads(cli("data", "fetch", "oasis1", "--json", "-")[1])
    assert (found["done"], found["fetched"]) == (False, [])
    assert found["message"].split() == out.split()


@pytest.mark.parametrize("override", ["seed=1", "dataset=brats", "data_dir=a,b"])
def test_list_takes_folders_alone(cli, override):
    code, _, err = cli("data", "list", override)
    assert code == 2
    assert f"{override}: `anomaly-bench data list` lists all datasets and takes data_dir=FOLDER and cache_dir" in err


def test_a_store_that_cannot_be_removed_is_kept_and_named(cli, brats, cache, monkeypatch):
    cli("data", "prepare", *brats)
    (store,) = list_stores(cache)
    monkeypatch.setattr(shutil, "rmtree", Mock(side_effect=OSError(errno.EROFS, "Read-only file system")))
    code, out, err = cli("data", "rm", "--all")
    assert (code, "0 slice stores" in out) == (1, True)
    assert f"kept {store.folder}: cannot be removed (Read-only file system); remove it as a user who may write" in err


def test_a_full_disk_is_no_problem_of_the_data(cli, brats, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Mock(free=0))
    code, _, err = cli("data", "prepare", *brats)
    assert code == 2
    assert "and 0.0 MiB are free; free some" in err
    assert "data verify" not in err


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_description_fits_the_terminal(cli, brats, cache, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = cli("data", "describe", *brats, "--out", str(tmp_path / "out"))
    bars = [line for line in out.splitlines() if set(line) & set("▁▂▃▄▅▆▇█")]
    assert len(bars) == 3
    assert max(map(len, bars)) <= columns
    assert min(len(line) for line in bars if "normal" in line) > columns // 3


@pytest.mark.parametrize("verb", VERBS)
def test_json_on_standard_output_stands_alone_and_is_a_list(cli, verb, brats, cache, monkeypatch):
    monkeypatch.setattr("data_modules.base.options.folders.options_of", lambda group: ["brats"])
    arguments = {
        "describe": [*brats, "--out", str(cache / "pictures")],
        "verify": brats,
        "prepare": brats,
        "fetch": ["brats"],
        "rm": ["--all", "--dry-run"],
    }
    found = json.loads(cli("data", verb, *arguments.get(verb, []), "--json", "-")[1])
    assert isinstance(found, list)
    assert all(isinstance(one, dict) for one in found)


def test_verbs_that_read_no_pixel_load_no_torch(tmp_path):
    code = """
import sys
from anomaly_bench.cli.main import main
import data_modules.base.options.folders
data_modules.base.options.folders.options_of = lambda group: ["brats", "mvtec_ad", "tiny_brain"]
for arguments in (["list"], ["ls"], ["rm", "--all"], ["fetch", "oasis1"], ["fetch", "--help"]):
    try:
        main(["data", *arguments])
    except SystemExit:
        pass
    assert "torch" not in sys.modules, arguments
"""
    environment = {**os.environ, "ANOMALY_BENCH_CACHE": str(tmp_path), "ANOMALY_BENCH_DATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)


def test_an_unknown_dataset_is_one_line_and_exit_code_2(cli, cache):
    for verb in ("describe", "verify", "prepare"):
        code, _, err = cli("data", verb, "dataset=barts")
        assert code == 2
        assert "did you mean brats?" in err
        assert err.count("\n") == 1


def test_overrides_may_stand_on_both_sides_of_an_option(cli, brats, brats_root, tmp_path):
    code, _, err = cli("data", "verify", brats[0], "--json", str(tmp_path / "f.json"), *brats[1:])
    assert code == 0, err
    assert json.loads((tmp_path / "f.json").read_text())[0]["root"] == str(brats_root)
    with pytest.raises(SystemExit):
        main(["data", "verify", "--jsn=1", "dataset=brats"])


def test_a_dataset_of_ones_own_works_with_every_verb(cli, own_configs, cache, monkeypatch):
    option = ["--config-dir", str(own_configs)]
    code, out, err = cli("data", "verify", "dataset=mine", "dataset.size=[16,16]", *option)
    assert code == 0, err
    assert out.startswith("mine in ")
    assert "\nmine " in cli("data", "list", *option)[1]
    assert "name: mine" in cli("run", "dataset=mine", *option, "--cfg")[1]
    assert "name: mine" in cli("bench", "dataset=mine", *option, "--cfg")[1]
    code, _, err = cli("run", "dataset=mine", "--cfg")
    assert code == 2
    assert "there is no such dataset" in err
    assert CONFIG_DIR_VARIABLE not in os.environ
    monkeypatch.setenv(CONFIG_DIR_VARIABLE, str(own_configs))
    assert load_config(["dataset=mine"]).dataset.name == "mine"
    assert "mine" in options_of("dataset")


def test_a_config_folder_that_cannot_be_is_refused(own_configs, tmp_path):
    with searching([str(tmp_path / "no")]), pytest.raises(ConfigError, match="no such folder"):
        load_config([])
    (tmp_path / "empty").mkdir()
    with searching([str(tmp_path / "empty")]), pytest.raises(ConfigError, match=r"put my\.yaml into .*empty/dataset"):
        load_config([])


def test_a_config_of_a_name_that_is_taken_is_refused_where_it_is_chosen(own_configs):
    (own_configs / "dataset/brats.yaml").write_text("name: other\n")
    with searching([str(own_configs)]):
        assert load_config([]).dataset.name == "tiny_brain"
        for choice in (["dataset=brats"], ["dataset=oasis1", "+dataset@dataset.healthy=brats"]):
            with pytest.raises(
                ConfigError, match=r"configs, .*/dataset/brats\.yaml: .*/dataset/brats\.yaml is dataset=brats"
            ):
                load_config(choice)
        (own_configs / "dataset/tiny_brain.yaml").write_text("name: other\n")
        with pytest.raises(ConfigError, match="is dataset=tiny_brain already; give the file another name"):
            load_config([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name: [x\nkind: }\n", r"configs, .*/bad\.yaml, line 2: is no YAML \(.*; correct it"),
        (b"name: \xff\n", "is no text in UTF-8"),
        (b"name: \x01\n", "is no text in UTF-8"),
        (b"- a\n- b\n", "dataset: its YAML holds no keys"),
    ],
)
def test_a_config_that_is_no_yaml_is_told(own_configs, text, message):
    (own_configs / "dataset/bad.yaml").write_bytes(text)
    with searching([str(own_configs)]), pytest.raises(ConfigError, match=message):
        load_config(["dataset=bad"])


def test_an_option_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(
        ConfigError, match=r"dataset=brat: there is no such dataset; did you mean brats\? \(there are atlas, "
    ):
        load_config(["dataset=brat"])
    with pytest.raises(ConfigError, match=r"dataset=nothing: there is no such dataset; there are atlas, "):
        load_config(["dataset=nothing"])


def test_config_folders_add_up_and_end_with_their_verb(own_configs, tmp_path, monkeypatch):
    monkeypatch.setenv(CONFIG_DIR_VARIABLE, str(own_configs))
    (tmp_path / "more/dataset").mkdir(parents=True)
    (tmp_path / "more/dataset/yours.yaml").write_text("defaults: [mine]\nname: yours\n")
    with searching([str(tmp_path / "more")]):
        assert load_config(["dataset=yours"]).dataset.name == "yours"
    assert os.environ[CONFIG_DIR_VARIABLE] == str(own_configs)
    with pytest.raises(ConfigError, match="dataset=yours"):
        load_config(["dataset=yours"])


def test_sparkline_is_scaled_to_its_highest_bin_and_shows_what_is_there():
    assert sparkline([0, 1, 400, 800], 4) == " ▁▄█"
    assert sparkline([1] * 100, 10) == "█" * 10
    assert sparkline([0, 0], 2) == "  "
    assert sparkline(np.ones(3, int).tolist(), 64) == "███"


def test_problems_of_one_kind_are_counted_and_those_of_the_files_come_first(capsys):
    problems = [Problem("error", "none of 5 subjects falls into 'val'", "raise dataset.split.val")]
    problems += [Problem("error", f"subject s{at} has no label", "add it", file="/data") for at in range(5)]
    problems += [
        Problem("warning", f"{at}.5 % of the label lies outside", file=f"/data/s{at}.nii.gz") for at in range(2)
    ]
    print_findings(Findings("mine", "/data", 5, 9, problems))
    out = capsys.readouterr().out
    assert [f"error    s{at}" in out for at in range(5)] == [True, True, True, False, False]
    assert "and 2 more like it" in out
    assert out.index("error    s0") < out.index("error    the dataset") < out.index("warning  s0.nii.gz")
    assert "6 errors, 2 warnings" in out
