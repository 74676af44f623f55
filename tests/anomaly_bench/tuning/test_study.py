"""A study with runs that are made up: asked, told, resumed, shared; and one with real runs."""

import json
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml
from small_results import result
from small_runs import replaced, tiles

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.study import PRUNED, open_study
from anomaly_bench.config.grid import load_grid
from anomaly_bench.sweep import job
from anomaly_bench.tuning import BEST_FILE, study, workers
from anomaly_bench.tuning.objective import Objective
from anomaly_bench.tuning.space import distributions, read_space, settings_of
from anomaly_bench.tuning.study import Tuning, base_configs, tune
from leaderboard.json_file import write_document

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
OVERRIDES = ["dataset=tiny_texture", "predictors.only=[rec_l1,rec_l2]"]


@pytest.fixture
def tuning(tmp_path):
    (tmp_path / "space.yaml").write_text("model.beta: {low: 0.1, high: 10, log: true}\nmodel.latent: [8, 16]\n")
    space = read_space(tmp_path / "space.yaml", OVERRIDES)

    def make(trials, objective=None, overrides=OVERRIDES, **more):
        return Tuning(overrides, space, objective or Objective("synthetic_ap"), trials, **{"sampler": "random"} | more)

    return make


class Runs:
    """Takes the place of `sweep.bench`: a run is worth 1 / beta for rec_l1 and half of it for rec_l2."""

    def __init__(self, folder, fails=(), prunes=None):
        self.folder, self.fails, self.prunes, self.done = folder, fails, prunes, []

    def __call__(self, configs, noted):
        assert not noted
        jobs = []
        for config in configs:
            self.done.append((config.model.beta, config.model.latent, config.seed))
            folder = self.folder / f"{len(self.done)}"
            number = int(config.trial.rsplit(":", 3)[1])
            if self.prunes == number:
                study = open_study(Path(config.trial.rsplit(":", 3)[0]))
                optuna.trial.Trial(study, study.trials[number]._trial_id).set_user_attr(PRUNED, 10)
            elif len(self.done) not in self.fails:
                folder.mkdir(parents=True)
                value = 1 / config.model.beta
                rows = {
                    "rec_l1": {"criteria": {"synthetic_ap": value}},
                    "rec_l2": {"criteria": {"synthetic_ap": value / 2}},
                }
                write_document(result(config.seed, rows), folder / "result.json")
            jobs.append(SimpleNamespace(config=config, folder=folder))
        return SimpleNamespace(jobs=jobs)


def test_the_best_of_all_trials_is_told_and_left_as_a_sweep_that_bench_takes(tuning, tmp_path):
    runs, said = Runs(tmp_path / "runs"), []
    found = tune(tuning(6, jobs=2), tmp_path / "study.log", tmp_path, runs, said.append)
    lowest = min(runs.done)
    assert (found.done, found.pruned, found.failed, found.row) == (6, 0, 0, "rec_l1")
    assert found.value == pytest.approx(1 / lowest[0])
    assert found.settings == {"model.beta": lowest[0], "model.latent": lowest[1]}
    assert len(said) == 12
    best = tmp_path / BEST_FILE
    assert yaml.safe_load(best.read_text()) == {"sweep": {key: [value] for key, value in found.settings.items()}}
    (config,) = load_grid(OVERRIDES, best)
    assert (config.model.beta, config.model.latent) == lowest[:2]


def test_seeds_of_a_trial_are_averaged_and_a_row_can_be_named(tuning, tmp_path):
    runs = Runs(tmp_path / "runs")
    objective = Objective("synthetic_ap", "rec_l2")
    found = tune(tuning(1, objective, [*OVERRIDES, "seed=0,1"]), tmp_path / "s.log", tmp_path, runs, print)
    assert [seed for *_, seed in runs.done] == [0, 1]
    assert (found.row, found.value) == ("rec_l2", pytest.approx(0.5 / runs.done[0][0]))


def test_a_study_goes_on_where_it_was_and_no_trial_is_done_twice(tuning, tmp_path):
    first, second, third = (Runs(tmp_path / name) for name in "abc")
    tune(tuning(2), tmp_path / "s.log", tmp_path, first, print)
    assert tune(tuning(5), tmp_path / "s.log", tmp_path, second, print).done == 5
    assert (len(first.done), len(second.done)) == (2, 3)
    assert tune(tuning(5), tmp_path / "s.log", tmp_path, third, print).done == 5
    assert third.done == []


def test_a_trial_whose_process_has_died_is_begun_again_with_its_settings(tuning, tmp_path):
    def killed(configs, noted):
        asked.extend(configs)
        raise KeyboardInterrupt

    asked: list = []
    with pytest.raises(KeyboardInterrupt):
        tune(tuning(2), tmp_path / "s.log", tmp_path, killed, print)
    runs = Runs(tmp_path / "runs")
    found = tune(tuning(2), tmp_path / "s.log", tmp_path, runs, print)
    assert (found.done, found.failed) == (2, 0)
    assert runs.done[0] == (asked[0].model.beta, asked[0].model.latent, 0)
    assert len(runs.done) == 2


def test_a_trial_that_is_interrupted_while_its_settings_are_drawn_is_not_waited_for(tuning, tmp_path, monkeypatch):
    class Interrupted(optuna.samplers.RandomSampler):
        def sample_independent(self, *_):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(study, "_sampler", lambda name: Interrupted())
        with pytest.raises(KeyboardInterrupt):
            tune(tuning(1), tmp_path / "s.log", tmp_path, print, print)
    (left,) = open_study(tmp_path / "s.log").trials
    assert workers.WORKER in left.user_attrs
    runs = Runs(tmp_path / "runs")
    found = tune(tuning(1), tmp_path / "s.log", tmp_path, runs, print)
    assert (found.done, found.failed, len(runs.done)) == (1, 0, 1)


def begun_by_a_process_that_dies(tuning, folder):
    """A process that is killed in its first trial."""
    pid = os.fork()
    if pid == 0:
        tune(tuning, folder / "s.log", folder, lambda configs, noted: os._exit(0), print)
    assert os.waitpid(pid, 0)[1] == 0


def test_others_begin_a_trial_again_while_they_are_at_theirs(tuning, tmp_path):
    class Beside(Runs):
        def __call__(self, configs, noted):
            if not self.done:
                begun_by_a_process_that_dies(tuning(2), tmp_path)
            return super().__call__(configs, noted)

    runs = Beside(tmp_path / "runs")
    found = tune(tuning(2), tmp_path / "s.log", tmp_path, runs, print)
    assert (found.done, found.failed, len(runs.done)) == (2, 0, 2)
    assert not list(tmp_path.glob("*.lock"))


def test_a_trial_of_a_machine_that_is_gone_is_begun_again_after_a_silence(tuning, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "LEASE", 0.5)
    monkeypatch.setattr(study, "PAUSE", 0.05)
    begun_by_a_process_that_dies(tuning(1), tmp_path)
    (lock,) = tmp_path.glob("s.log.*.lock")
    lock.write_text(lock.read_text().replace(socket.gethostname(), "elsewhere"))
    runs, begun = Runs(tmp_path / "runs"), time.monotonic()
    assert tune(tuning(1), tmp_path / "s.log", tmp_path, runs, print).done == 1
    assert time.monotonic() - begun > 0.5


def test_a_trial_of_a_machine_that_gives_signs_of_life_is_left_to_it(tuning, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "LEASE", 0.5)
    monkeypatch.setattr(study, "PAUSE", 0.05)
    monkeypatch.setattr(workers.Workers, "_elsewhere", lambda *_: True)
    with workers.Workers(tmp_path / "s.log") as other:
        other.take(open_study(tmp_path / "s.log").ask(distributions(tuning(1).space)))
        runs = Runs(tmp_path / "runs")
        assert tune(tuning(1), tmp_path / "s.log", tmp_path, runs, print).done == 0
    assert runs.done == []
    assert tune(tuning(1), tmp_path / "s.log", tmp_path, runs, print).done == 1


@pytest.mark.parametrize("verb", ["status", "retry", "cancel"])
def test_the_folder_of_a_study_is_told_from_one_without_a_sweep(verb, cli, tuning, tmp_path):
    tune(tuning(1), tmp_path / "study.log", tmp_path, Runs(tmp_path / "runs"), print)
    code, _, err = cli(verb, str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert f"{tmp_path}: a study of `anomaly-bench tune` and no sweep; the same `tune` command goes on with it" in err
    assert "bench out=" not in err


DAMAGED = {
    "a torn end": lambda lines: b"\n".join(lines)[:-9],
    "garbage at the end": lambda lines: b"\n".join([*lines, b"{", b""]),
    "garbage within": lambda lines: b"\n".join([*lines[:3], b"{\xff", *lines[4:], b""]),
    "a line that is no entry": lambda lines: b"\n".join([*lines[:3], b"7", *lines[3:], b""]),
    "an entry without its trial": lambda lines: b"\n".join(
        [lines[0], b'{"op_code":5,"worker_id":"a"}', *lines[1:], b""]
    ),
    "no journal at all": lambda _: b"hello\nworld\n",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_study_is_named_with_its_remedy_and_nothing_is_added_to_it(damage, cli, tuning, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    tune(tuning(1), out / "study.log", out, Runs(tmp_path / "runs"), print)
    damaged = damage((out / "study.log").read_bytes().splitlines())
    (out / "study.log").write_bytes(damaged)
    code, _, err = cli("tune", *OVERRIDES, f"out={out}", "--space", str(tmp_path / "space.yaml"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"{out / 'study.log'}: the study is damaged" in err
    assert "move it away and start the same command again" in err
    assert (out / "study.log").read_bytes() == damaged


def test_failed_and_pruned_trials_count_and_the_study_goes_on(tuning, tmp_path):
    runs, said = Runs(tmp_path / "runs", fails=(1,), prunes=1), []
    found = tune(tuning(4), tmp_path / "s.log", tmp_path, runs, said.append)
    assert (found.done, found.pruned, found.failed) == (2, 1, 1)
    assert f"trial 1: a run failed; why: {tmp_path / 'runs/1/failure.txt'}" in said
    assert "trial 2: pruned at epoch 10" in said


def test_another_space_or_objective_does_not_go_into_a_study(tuning, tmp_path):
    tune(tuning(1), tmp_path / "s.log", tmp_path, Runs(tmp_path / "a"), print)
    for other, name in (
        (tuning(2, Objective("elbo")), "by"),
        (tuning(2, overrides=[*OVERRIDES, "seed=3"]), "overrides"),
    ):
        with pytest.raises(ConfigError, match=f"this study has another {name}"):
            tune(other, tmp_path / "s.log", tmp_path, Runs(tmp_path / "b"), print)


def test_what_varies_besides_seeds_belongs_into_the_space():
    assert [config.seed for config in base_configs([*OVERRIDES, "seed=0,1"], 1)] == [0, 1]
    with pytest.raises(ConfigError, match="belongs into --space"):
        base_configs([*OVERRIDES, "model.beta=1,2"], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys with values or ranges"),
        ("- 1", "expected keys with values or ranges"),
        ("{a", "is no YAML"),
        ("model.beta: 3", r"model\.beta: expected \[values\] or"),
        ("model.beta: []", "one or more"),
        ("model.beta: [1, 1]", "values that differ"),
        ("model.beta: {low: 1}", r"expected \[values\] or"),
        ("model.beta: {low: 1, high: 2, up: 3}", r"expected \[values\] or"),
        ("model.beta: {low: 2, high: 1}", "low < high"),
        ("model.beta: {low: 0, high: 1, log: true}", "log: true low > 0"),
        ("model.beta: {low: .nan, high: 1}", "finite"),
        ("model.beta: {low: a, high: 1}", "expected numbers"),
        ("model.beta: {low: 1, high: 2, step: 3}", "a step above 0"),
        ("model.betta: [1, 2]", "betta"),
        ("model.latent: [8, many]", "latent"),
        ("model.latent: {low: 0, high: 8}", "latent"),
        ("dataset: [tiny_texture]", "set on the command line, too"),
    ],
)
def test_a_space_that_is_none_is_refused_by_file_and_key(tmp_path, text, message):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_space(tmp_path / "space.yaml", OVERRIDES)
    assert "space.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [0, 1]", "seed: is no setting; several seeds are averaged: give them on the command line"),
        ("jobs: [1, 2]", "jobs: is no setting, but of all trials: give it on the command line"),
        ("engine.threads: [1, 2]", "engine.threads: is no setting"),
        ("logger: [csv, wandb]", "logger: is no setting"),
    ],
)
def test_a_key_that_is_no_setting_is_not_searched(cli, tmp_path, text, message):
    (tmp_path / "space.yaml").write_text(text)
    code, _, err = cli("tune", *OVERRIDES, f"out={tmp_path / 'out'}", "--space", str(tmp_path / "space.yaml"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"space.yaml: {message}" in err
    assert not (tmp_path / "out").exists()


def test_values_are_what_the_space_says(tmp_path):
    (tmp_path / "space.yaml").write_text("model.channels: [[4, 8], null]\nmodel.lr: {low: 0.001, high: 0.00333333}\n")
    space = read_space(tmp_path / "space.yaml")
    drawn = {"model.channels": json.dumps([4, 8]), "model.lr": 0.0033333299}
    assert settings_of(drawn, space) == {"model.channels": [4, 8], "model.lr": 0.003333}


@pytest.mark.parametrize(
    ("objective", "overrides", "message"),
    [
        (Objective("stability"), [], "two seeds or more"),
        (Objective("elbo", "grad_kl"), [], "--predictor grad_kl: expected a row of the runs: rec_l1, rec_l2"),
        (Objective("consistency"), [], r"selection\.criteria does not have it"),
    ],
)
def test_an_objective_that_the_runs_cannot_have_is_refused(objective, overrides, message):
    with pytest.raises(ConfigError, match=message):
        objective.check(base_configs([*OVERRIDES, *overrides], 1))


def test_labelled_objectives_are_of_validation_never_of_the_test():
    rows = {"rec_l1": {"value": 0.9, "validation": 0.3}, "rec_l2": {"value": 0.1, "validation": 0.4}}
    value, row = Objective("validation_ap").of([result(0, rows)])
    assert (value, row) == (pytest.approx(0.4), "rec_l2")
    with pytest.raises(ConfigError, match="no validation image is anomalous"):
        Objective("validation_ap").of([result(0, {"rec_l1": {"validation": None}})])


@pytest.mark.slow
def test_trials_are_ordinary_runs_and_hopeless_ones_are_pruned(cli, tmp_path):
    (tmp_path / "space.yaml").write_text("model.lr: {low: 0.00001, high: 0.003}\n")  # never twice the same, as of four
    small = ["predictors.only=[rec_l1]", "localization.pictures=0", "localization.resamples=0"]
    quick = ["localization.monitor_every=0", "trainer.max_epochs=10", "selection.images=8", "jobs=0"]
    out = tmp_path / "runs"
    overrides = replaced(tiles(tmp_path), *small, *quick, f"out={out}")
    words = ["tune", *overrides, "--space", str(tmp_path / "space.yaml")]
    code, text, _ = cli(*words, "--trials", "2", "--sampler", "random")
    assert code == 0
    assert "best      synthetic_ap" in text
    finished = len(list(out.glob("*/result.json")))
    study = open_study(out / "study.log")
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) >= 1
    assert 1 <= finished <= 2
    assert all(10 in trial.intermediate_values for trial in study.trials), "each has told how it stood"
