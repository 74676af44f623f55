"""What a user can get wrong: one message that names the file or key and the remedy, exit code 2, nothing lost."""

import errno
import os
import shutil

import pytest
from small_runs import replaced

from anomaly_bench.cli.main import main
from anomaly_bench.sweep import worker as child

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.bta=1"], "model.bta: no such key; did you mean model.beta?"),
        (["dataset=bratz"], "there is no such dataset; did you mean brats?"),
        (["predictors=fats"], "predictors=fats: there are no such predictors; did you mean fast?"),
        (["model.beta=0"], "model.beta=0.0: expected a number no less than 1e-09"),
        (["model.channels=[4,4,4,4,4]"], "cannot be halved 5 times"),
        (["dataset.root=/nowhere"], "/nowhere: no such folder; set dataset.root"),
        (["predictors.only=[rec_l9]"], "there is no predictor 'rec_l9'; did you mean rec_l"),
        (["dataset.category=bottles"], "dataset.category=bottles; there are tile"),
        (["seed=x"], "seed=x: expected an integer"),
        (["dataset.split.val=0", "dataset.split.holdout=0"], "falls into 'val'"),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_code_two(cli, pictures_run, tmp_path, arguments, message):
    code, _out, err = cli("bench", *replaced(pictures_run, *arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("*/"))


def test_bad_data_is_found_before_any_training_and_costs_nothing_finished(cli, pictures_run, mvtec_root, tmp_path):
    assert cli("bench", *pictures_run)[0] == 0
    before = sorted((tmp_path / "runs").rglob("*"))
    broken = mvtec_root.parent / "broken"
    shutil.copytree(mvtec_root, broken)
    (broken / "tile/test/square/000.png").write_bytes(b"no picture")
    code, _, err = cli("bench", *replaced(pictures_run, f"dataset.root={mvtec_root},{broken}", "seed=5"))
    assert code == 2
    assert "000.png: cannot be read as a picture" in err
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_a_damaged_result_is_named_at_the_end_kept_and_costs_no_other_run(cli, pictures_run, tmp_path):
    out = tmp_path / "runs"
    command = ["bench", *pictures_run, "predictors.only=[rec_l1]"]
    assert cli(*command, "seed=0")[0] == 0
    (result,) = out.glob("*/result.json")
    damaged = result.read_text()[:300]
    result.write_text(damaged)
    code, board, err = cli(*command, "seed=0,1")
    assert code == 2
    assert "1/2*" in board
    assert "seed=0: DAMAGED" in err
    assert err.splitlines()[-1].startswith(f"damaged: {result}: damaged JSON")
    assert "Move the run's folder away" in err.splitlines()[-1]
    assert len(list(out.glob("*/result.json"))) == 2
    assert result.read_text() == damaged
    code, said, _ = cli("retry", str(out))
    assert (code, "no run has failed" in said) == (0, True)
    result.parent.rename(tmp_path / "away")
    assert cli(*command, "seed=0,1")[0] == 0


def test_a_command_whose_only_result_is_damaged_says_so(cli, pictures_run, tmp_path):
    assert cli("bench", *pictures_run, "predictors.only=[intensity]")[0] == 0
    (result,) = (tmp_path / "runs").glob("*/result.json")
    result.write_text(result.read_text()[:300])
    code, _, err = cli("bench", *pictures_run, "predictors.only=[intensity]")
    assert code == 2
    assert "Move the run's folder away" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("trainer.accelerator=gpuu", ""),
        ("trainer.accelerator=mps", "this machine has none; set trainer.accelerator=auto or cpu"),
        ("trainer.precision=33", ""),
    ],
)
def test_a_trainer_that_cannot_be_is_found_before_any_training(cli, pictures_run, key, remedy):
    code, _, err = cli("bench", *replaced(pictures_run, key))
    assert code == 2
    assert key in err
    assert remedy in err


def test_one_sweep_has_one_output_folder(cli, pictures_run, tmp_path):
    code, _, err = cli("bench", *replaced(pictures_run, f"out={tmp_path / 'a'},{tmp_path / 'b'}"))
    assert code == 2
    assert "give one output folder" in err


def test_a_cache_that_cannot_be_written_is_named_with_its_key(cli, pictures_run, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = cli("bench", *pictures_run, f"cache_dir={tmp_path / 'taken'}")
    assert code == 2
    assert "taken/locks: it is no folder: choose another folder (cache_dir=FOLDER" in err


def test_a_folder_with_markup_in_its_name_is_printed_as_it_is(cli, pictures_run, tmp_path):
    code, out, _ = cli("bench", *replaced(pictures_run, f"out='{tmp_path}/o[/a]'"), "predictors.only=[intensity]")
    assert code == 0
    assert "o[/a]/leaderboard.md" in out


def test_what_is_only_shown_on_the_way_does_not_make_another_run(pictures_run, tmp_path, cli):
    cli("bench", *pictures_run, "predictors.only=[intensity]")
    shown = ["localization.pictures=1", "localization.monitor_every=0", "predictors.members.rec_l1.smooth=3"]
    _, _, err = cli("bench", *replaced(pictures_run, *shown), "predictors.only=[intensity]")
    assert "done before" in err


def test_the_tables_on_disk_are_of_the_whole_folder(cli, pictures_run, tmp_path):
    cli("bench", *pictures_run, "predictors.only=[intensity]", "dataset.name=one")
    _, out, _ = cli("bench", *pictures_run, "predictors.only=[intensity]", "dataset.name=two")
    assert "one" not in out.split("All metrics")[0].replace("(none)", "")
    text = (tmp_path / "runs/leaderboard.md").read_text()
    assert "### one" in text
    assert "### two" in text


def test_an_unset_root_says_how_to_set_it(cli, tmp_path, cache):
    code, _, err = cli("bench", "dataset=brats", f"out={tmp_path / 'runs'}")
    assert code == 2
    assert "set dataset.root=FOLDER" in err


def test_debug_shows_the_traceback(pictures_run):
    with pytest.raises(Exception, match="no such folder"):
        main(["bench", *replaced(pictures_run, "dataset.root=/nowhere"), "--debug"])


def test_an_output_folder_that_is_a_file_is_named(cli, pictures_run, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = cli("bench", *replaced(pictures_run, f"out={tmp_path / 'taken'}"))
    assert code == 2
    assert "taken: it is no folder: choose another folder (out=FOLDER" in err


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission")],
)
def test_a_disk_that_refuses_while_a_run_writes_stops_the_sweep_and_keeps_what_is_done(
    cli, pictures_run, tmp_path, monkeypatch, number, words
):
    real = child.run

    def refusing(config, *rest):
        if config.seed == 1:
            raise OSError(number, os.strerror(number), str(tmp_path / "runs/x"))
        return real(config, *rest)

    monkeypatch.setattr(child, "run", refusing)
    code, _, err = cli("bench", *pictures_run, "seed=0,1,2", "jobs=0")
    assert code == 2
    assert words in err
    assert "what was finished is kept" in err
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 1
