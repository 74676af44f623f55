"""The verb `tune`: the best settings of a space, by trials that a study remembers."""

from __future__ import annotations

import argparse
from pathlib import Path

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import check_writable
from anomaly_bench.cli.arguments import add_config_dir, add_overrides, output_file
from anomaly_bench.tuning import BEST_FILE, LABELLED, OBJECTIVES, SAMPLERS, STUDY_FILE
from leaderboard.record import CRITERIA

ABOUT = "search settings by trials, each an ordinary run, without a look at the test; resumable, shared by several processes"
EXAMPLE = "dataset=tiny_texture --space space.yaml --trials 50 --by synthetic_ap --jobs 2"
EXITS = "0 done; 1 no trial was finished; 2 something to mend, named in one line; 130 interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser, "as for run, of all trials; several seeds ('seed=0,1') are averaged")
    add = parser.add_argument
    add("--space", type=Path, required=True, metavar="FILE", help="YAML, key: [values] or key: {low, high, log, step}")
    add("--trials", type=int, default=50, metavar="N", help="trials of the study in all, default 50")
    text = f"what is to be high: {', '.join(CRITERIA)}, or with labels {', '.join(LABELLED)}; default synthetic_ap"
    add("--by", choices=OBJECTIVES, default="synthetic_ap", metavar="NAME", help=text)
    add("--predictor", default="", metavar="ROW", help="the row that counts, default the best one")
    add("--sampler", choices=SAMPLERS, default="tpe", help="default tpe")
    add("--no-prune", action="store_true", help="let every trial train to its end")
    add(
        "--study",
        type=output_file,
        metavar="FILE",
        help="the study, default OUT/study.log; others may work on it at the same time",
    )
    add("--jobs", type=int, metavar="N", help="trials at once, as jobs=N")
    add_config_dir(parser)


def call(options: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ConfigError("tune needs Optuna: pip install 'anomaly-bench[tune]'")
    if options.trials < 1:
        raise ConfigError(f"--trials {options.trials}: expected 1 or more")
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs}: expected 1 or more")
    from anomaly_bench.tuning.objective import Objective
    from anomaly_bench.tuning.space import check_settings, read_space
    from anomaly_bench.tuning.study import Tuning, base_configs, tune

    configs = base_configs(options.overrides, options.jobs or 1)
    jobs = options.jobs or max(1, configs[0].jobs)
    objective = Objective(options.by, options.predictor)
    objective.check(configs)
    space = read_space(options.space, options.overrides)
    check_settings(options.space, space)
    out = Path(configs[0].out).expanduser()
    check_writable(out)
    from anomaly_bench.sweep import bench
    from leaderboard.results.collect import FAILURE_FILE

    tuning = Tuning(options.overrides, space, objective, options.trials, jobs, options.sampler, not options.no_prune)
    study = (options.study or out / STUDY_FILE).absolute()
    found = tune(tuning, study, out, bench, lambda line: print(line, flush=True))
    print(f"\ntrials    {found.done} finished, {found.pruned} pruned, {found.failed} failed ({study})")
    if found.settings is None:
        print(f"none was finished, so that there is no best one; why runs failed: {out}/<run>/{FAILURE_FILE}")
        return 1
    labels = " (with the labels of validation images)" if options.by in LABELLED else ""
    print(f"best      {options.by} {found.value:.4f} of {found.row}, trial {found.number + 1}{labels}")
    for key, value in found.settings.items():
        print(f"          {key}={value}")
    print(f"Settings  {out / BEST_FILE} (anomaly-bench bench … --sweep {out / BEST_FILE})")
    print(f"Runs      anomaly-bench leaderboard {out}")
    return 0
