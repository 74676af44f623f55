"""A study: ask for trials, carry out the runs of each, tell what came of it; resumable, and shared by several processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import explained
from anomaly_bench.base.study import PRUNED, open_study
from anomaly_bench.config.checks import check_values
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.schema import RunConfig
from data_modules.base.atomic import write_atomic
from leaderboard.record import RESULT_FILE, RunResult, read_result
from leaderboard.results.collect import FAILURE_FILE

from . import BEST_FILE
from .objective import Objective
from .space import Space, distributions, override, settings_of
from .workers import Workers

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

PAUSE = 1.0  # seconds between looks at other processes
Bench = Callable[..., Any]


@dataclass(frozen=True)
class Tuning:
    """What is sought: the overrides of all trials, the space, the objective; how many trials in all, and how many at once."""

    overrides: Sequence[str]
    space: Space
    objective: Objective
    trials: int
    jobs: int = 1
    sampler: str = "tpe"
    prune: bool = True


@dataclass(frozen=True)
class Found:
    """How a study stands: trials that are finished, pruned and failed, and the best one with its value, row and settings."""

    done: int
    pruned: int
    failed: int
    value: float | None = None
    row: str = ""
    settings: dict[str, Any] | None = None
    number: int = -1


def base_configs(overrides: Sequence[str], jobs: int) -> list[RunConfig]:
    """The runs of a trial: one for each seed. Raises ConfigError if they differ in anything else."""
    configs = [replace(config, jobs=jobs) for config in load_grid(overrides)]
    check_values(configs)
    if any(replace(config, seed=0) != replace(configs[0], seed=0) for config in configs):
        raise ConfigError("a trial has several seeds at most: what else is to vary belongs into --space")
    return configs


def tune(tuning: Tuning, file: Path, out: Path, bench: Bench, say: Callable[[str], None]) -> Found:
    """Go on with the study in `file` until it has so many trials, pruned and failed ones among them; what it has found.

    bench: carries out configs (see `sweep.bench`). Trials of processes that have died, here or on another machine, are begun
    again, and their runs go on from their checkpoints. After each, `out` has the best settings so far as a sweep. Raises
    ConfigError for a study of another space or objective.
    """
    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    with Workers(file) as workers:
        study = open_study(file, _sampler(tuning.sampler), workers.attributes)
        _check_same(study, tuning)
        while True:
            _revive(study, workers)
            left, waiting = tuning.trials - _begun(study), len(_waiting(study))
            if left > 0 or waiting:
                count = min(tuning.jobs, max(left, waiting))
                trials = [workers.take(study.ask(distributions(tuning.space))) for _ in range(count)]
                _carry_out(study, trials, tuning, file, bench, say)
                _write_best(found(study, tuning), out)
            elif workers.unsure(study):
                time.sleep(PAUSE)
            else:
                return found(study, tuning)


def found(study: Study, tuning: Tuning) -> Found:
    """How a study stands."""
    from optuna.trial import TrialState

    by_state = {state: study.get_trials(deepcopy=False, states=[state]) for state in TrialState}
    done, pruned = len(by_state[TrialState.COMPLETE]), len(by_state[TrialState.PRUNED])
    failed = sum("again" not in trial.user_attrs for trial in by_state[TrialState.FAIL])
    if not done:
        return Found(done, pruned, failed)
    best: FrozenTrial = study.best_trial
    row, settings = best.user_attrs.get("row", ""), settings_of(best.params, tuning.space)
    return Found(done, pruned, failed, best.value, row, settings, best.number)


def _carry_out(
    study: Study, trials: Sequence[Trial], tuning: Tuning, file: Path, bench: Bench, say: Callable[[str], None]
) -> None:
    from optuna.trial import TrialState

    settings = [settings_of(trial.params, tuning.space) for trial in trials]
    texts = [[override(key, value) for key, value in one.items()] for one in settings]
    seeks = f"{tuning.objective.by}:{tuning.objective.predictor}"
    configs = [
        [
            replace(config, trial=f"{file}:{trial.number}:{seeks}" if tuning.prune else None)
            for config in base_configs([*tuning.overrides, *text], tuning.jobs)
        ]
        for trial, text in zip(trials, texts, strict=True)
    ]
    first = _begun(study) - len(trials) + 1
    for place, (trial, text) in enumerate(zip(trials, texts, strict=True), first):
        say(f"[{place}/{tuning.trials}] trial {trial.number + 1}: {' '.join(text)}")
    outcome = bench([config for several in configs for config in several], noted=False)
    folders = {_key(job.config): job.folder for job in outcome.jobs}
    for trial, several in zip(trials, configs, strict=True):
        pruned = study.trials[trial.number].user_attrs.get(PRUNED)
        results = [_result(folders[_key(config)]) for config in several]
        known = [result for result in results if result is not None]
        if len(known) == len(results):
            value, row = tuning.objective.of(known)
            trial.set_user_attr("row", row)
            study.tell(trial, value)
            best = study.best_trial
            reached = f"{tuning.objective.by} {value:.4f} ({row})"
            say(f"trial {trial.number + 1}: {reached}; best {best.value:.4f}, trial {best.number + 1}")
        elif pruned is not None:
            study.tell(trial, state=TrialState.PRUNED)
            say(f"trial {trial.number + 1}: pruned at epoch {pruned}")
        else:
            study.tell(trial, state=TrialState.FAIL)
            lost = next(folders[_key(config)] for config, one in zip(several, results, strict=True) if one is None)
            say(f"trial {trial.number + 1}: a run failed; why: {lost / FAILURE_FILE}")


def _key(config: RunConfig) -> str:
    return repr(replace(config, trial=None))


def _result(folder: Path) -> RunResult | None:
    path = folder / RESULT_FILE
    return read_result(path) if path.exists() else None


def _begun(study: Study) -> int:
    """Trials that count: all but those that are to be begun again, each of which has another one in its place."""
    from optuna.trial import TrialState

    return sum(
        trial.state != TrialState.WAITING and "again" not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def _waiting(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=[TrialState.WAITING])


def _revive(study: Study, workers: Workers) -> None:
    """Trials whose process has died are enqueued again, with the same settings."""
    from optuna.trial import Trial, TrialState

    for frozen in workers.orphans(study):
        Trial(study, frozen._trial_id).set_user_attr("again", True)
        study.tell(frozen.number, state=TrialState.FAIL)
        study.enqueue_trial(frozen.params)


def _check_same(study: Study, tuning: Tuning) -> None:
    """A study has one space, one objective and one set of overrides; its first command notes them."""
    seeks = {
        "space": tuning.space,
        "by": tuning.objective.by,
        "predictor": tuning.objective.predictor,
        "overrides": sorted(text for text in tuning.overrides if text.partition("=")[0] not in ("jobs", "out")),
    }
    known = study.user_attrs
    for name, value in seeks.items():
        if name in known and known[name] != value:
            raise ConfigError(
                f"this study has another {name}: {known[name]}; got {value}. Give another out=… or --study, or the same again"
            )
        if name not in known:
            study.set_user_attr(name, value)


def _sampler(name: str) -> object:
    """Without a seed: processes that share a study would all draw the same settings."""
    import optuna

    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(warn_independent_sampling=False)
    return optuna.samplers.TPESampler(constant_liar=True) if name == "tpe" else optuna.samplers.RandomSampler()


def _write_best(one: Found, out: Path) -> None:
    if one.settings is None:
        return
    of = one.done + one.pruned + one.failed
    head = f"# The best of {of} trials: {one.value:.4f} of {one.row}. anomaly-bench bench … --sweep {BEST_FILE}\n"
    sweep = {"sweep": {key: [value] for key, value in one.settings.items()}}
    write_atomic(out / BEST_FILE, (head + yaml.safe_dump(sweep, sort_keys=False)).encode())
