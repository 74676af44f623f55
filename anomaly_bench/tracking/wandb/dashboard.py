"""A W&B workspace and report that compare predictors: per dataset, over beta, over seeds, in pictures, in training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import convert

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.tracking.names import STEP, TAG_LENGTH, summary_key
from data_modules.base.regular import regular
from data_modules.base.strict_json import loads
from leaderboard.results.collect import collect

from .sync import require_answer, require_login

INSTALL = "the dashboard needs wandb-workspaces: pip install 'anomaly-bench[dashboard]'"
PLACE = "wandb_dashboard.json"  # in the folder of runs: where its workspaces and reports are, by entity/project
NAME = "anomaly_bench: predictors compared"
RUNS = "Metric('JobType') == 'run'"  # leaderboards are runs of W&B too
METRICS = ("auroc", "ap", "dice")
HEALTH = ("train/rec", "train/kl", "val/elbo", "val/active_units", "train/beta")
MOST = 100  # runs or groups in a panel; W&B shows 10 unless told


@dataclass(frozen=True)
class Shown:
    """A dataset with its predictors, by name; by_setting: its runs of one beta differ in more than their seed."""

    dataset: str
    predictors: tuple[str, ...]
    by_setting: bool


def subjects_of(folder: Path) -> list[Shown]:
    """The datasets of the results in a folder, by name. Raises ResultError if it has none."""
    runs = [run for run in collect(folder).results if not run.ensemble_of]
    shown = []
    for dataset in sorted({run.dataset for run in runs}):
        own = [run for run in runs if run.dataset == dataset]
        names = {name for run in own for name in run.predictors}
        groups, settings = {(run.model, f"{run.beta:g}") for run in own}, {run.setting_id for run in own}
        shown.append(Shown(dataset, tuple(sorted(names)), len(settings) > len(groups)))
    return shown


def build(entity: str, project: str, shown: Sequence[Shown]) -> tuple[Any, Any]:
    """The workspace and the report, of wandb-workspaces; asks no server. Raises ConfigError where that is not installed.

    The report has a grid of panels for each dataset and part, as panels show the runs of all run sets of their grid; a
    workspace has one run set, in which the reader filters.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    names = sorted({name for one in shown for name in one.predictors})
    every = Shown("all datasets", tuple(names), any(one.by_setting for one in shown))
    sections = [
        workspaces.Section(name=title, panels=panels, is_open=number == 0)
        for number, (title, _, panels) in enumerate(_parts(every))
    ]
    blocks: list[Any] = [reports.TableOfContents()]
    for one in shown:
        blocks.append(reports.H1(text=one.dataset))
        for title, text, panels in _parts(one):
            runs = reports.Runset(name=one.dataset, filters=_runs_of(one.dataset))
            grid = reports.PanelGrid(runsets=[runs], panels=panels)
            blocks += [reports.H2(text=title), reports.P(text=text), grid]
    runset = workspaces.RunsetSettings(filters=RUNS)
    workspace = workspaces.Workspace(
        entity=entity, project=project, name=NAME, sections=sections, runset_settings=runset
    )
    about = f"Datasets: {', '.join(one.dataset for one in shown)}. Predictors: {', '.join(names)}."
    report = reports.Report(entity=entity, project=project, title=NAME, description=about, blocks=blocks, width="fluid")
    return workspace, report


def _runs_of(dataset: str) -> str:
    return f"{RUNS} and Metric('Tags') in [{dataset[:TAG_LENGTH]!r}]"


def _parts(shown: Shown) -> Iterator[tuple[str, str, list[Any]]]:
    """Title, explanation and panels of each part."""
    import wandb_workspaces.reports.v2 as reports

    def summary(predictor: str, metric: str) -> Any:
        return reports.SummaryMetric(summary_key("test", predictor, metric))

    def bars(metric: str, title: str, **grouping: Any) -> Any:
        metrics = [summary(name, metric) for name in names]
        return reports.BarPlot(title=title, metrics=metrics, max_runs_to_show=MOST, max_bars_to_show=MOST, **grouping)

    names = shown.predictors
    table = reports.WeavePanelSummaryTable(table_name="predictors", layout=reports.Layout(w=24, h=10))
    ranked = [bars(metric, f"{metric}, test") for metric in METRICS]
    yield "Predictors", "Each predictor on test pixels, a bar for each run.", [*ranked, table]
    betas = [
        reports.ScatterPlot(
            title=f"{name}, auroc over beta", x=reports.Config("beta"), y=summary(name, "auroc"), running_ymean=True
        )
        for name in names
    ]
    yield "Beta", "One point for each run, seeds above each other; the line is their running mean.", betas
    group = reports.Config("setting_id") if shown.by_setting else reports.Metric("Group")
    grouping: dict[str, Any] = {"groupby": group, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    title = "{}, test: mean and standard deviation over seeds"
    spread = [bars(metric, title.format(metric), **grouping) for metric in METRICS]
    yield "Seeds", "A group's runs differ in nothing but their seed.", spread
    keys = ["images/input", "images/reconstruction", *(f"maps/{name}" for name in names)]
    media = [reports.MediaBrowser(title=key, media_keys=[key], num_columns=3) for key in keys]
    yield "Pictures", "Test images and maps; the layers show what was found, missed and called in error.", media
    curves = [reports.LinePlot(title=key, x=STEP, y=[key], max_runs_to_show=MOST) for key in HEALTH]
    yield "Training", "ELBO, rec and KL in nats per image, active latent units, and beta, over epochs.", curves


def spec(workspace: Any, report: Any) -> str:
    """Both as JSON, as W&B's server takes them."""
    models = {"workspace": workspace._to_model(), "report": report._to_model()}
    plain = {
        name: json.loads(model.model_dump_json(by_alias=True, exclude_none=True)) for name, model in models.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def save(folder: Path, workspace: Any, report: Any) -> dict[str, str]:
    """Create both at W&B, or update those of this entity and project that the folder's file names; their addresses.

    The report comes first, as it creates the project. Raises ConfigError.
    """
    require_login()
    require_answer()
    place, where = folder / PLACE, f"{report.entity}/{report.project}"
    try:
        known = convert(loads(regular(place).read_bytes()), dict[str, dict[str, str]]) if place.exists() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place}: cannot be read ({error}); move it away, and a new dashboard is made") from error
    urls = known.setdefault(where, {})
    try:
        for name, new in (("report", report), ("workspace", workspace)):
            urls[name] = str(_saved(new, urls.get(name)).url)
            place.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    except Exception as error:  # W&B's own words say whether it is the login, the entity or the view that is not there
        line = str(error).partition("\n")[0]
        remedy = f"; if they were deleted there, delete {place} too" if urls else ""
        raise ConfigError(
            f"W&B refused the dashboard of --entity {report.entity} --project {report.project} ({line}): check both and "
            f"`wandb login`, or write it with --spec FILE{remedy}"
        ) from error
    return dict(urls)


def _saved(new: Any, url: str | None) -> Any:
    """Saved at W&B: a new one, or with its content that of an address."""
    if url is None:
        return new.save()
    old = type(new).from_url(url)
    for part in ("sections", "blocks", "description"):
        if hasattr(new, part):
            setattr(old, part, getattr(new, part))
    return old.save()
