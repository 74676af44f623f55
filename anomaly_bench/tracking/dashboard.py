"""A W&B workspace and report that compare predictors: per dataset, over beta, over seeds, in pictures, in training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.collect import collect

from ..errors import ConfigError
from .names import STEP, summary_key

INSTALL = "the dashboard needs wandb-workspaces: pip install 'anomaly-bench[dashboard]'"
PLACE = "wandb_dashboard.json"  # in the folder of runs: where its workspace and report are
NAME = "anomaly_bench: predictors compared"
METRICS = ("auroc", "ap", "dice")
HEALTH = ("train/rec", "train/kl", "val/elbo", "val/active_units", "train/beta")


@dataclass(frozen=True)
class Shown:
    """What there is to compare: datasets and predictors, in the order of their names."""

    datasets: tuple[str, ...]
    predictors: tuple[str, ...]


def subjects_of(folder: Path) -> Shown:
    """The datasets and predictors of the results in a folder. Raises ResultError if it has none."""
    runs = collect(folder).results
    names = {name for run in runs for name in run.predictors}
    return Shown(tuple(sorted({run.dataset for run in runs})), tuple(sorted(names)))


def build(entity: str, project: str, shown: Shown) -> tuple[Any, Any]:
    """The workspace and the report, of wandb-workspaces; asks no server. Raises ConfigError where that is not installed."""
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    sections: list[Any] = []
    blocks: list[Any] = [reports.TableOfContents()]
    for title, text, panels in _parts(shown):
        sections.append(workspaces.Section(name=title, panels=panels, is_open=not sections))
        grid = reports.PanelGrid(runsets=_runsets(shown), panels=panels)
        blocks += [reports.H1(text=title), reports.P(text=text), grid]
    workspace = workspaces.Workspace(entity=entity, project=project, name=NAME, sections=sections)
    report = reports.Report(
        entity=entity,
        project=project,
        title=NAME,
        description=f"Datasets: {', '.join(shown.datasets)}. Predictors: {', '.join(shown.predictors)}.",
        blocks=blocks,
    )
    return workspace, report


def _runsets(shown: Shown) -> list[Any]:
    """The runs of each dataset, one set shown at a time."""
    import wandb_workspaces.reports.v2 as reports

    kind = "Metric('JobType') == 'run'"
    every = [reports.Runset(name="all runs", filters=kind)]
    return every + [
        reports.Runset(name=name, filters=f"{kind} and Metric('Tags') == '{name}'") for name in shown.datasets
    ]


def _parts(shown: Shown) -> Iterator[tuple[str, str, list[Any]]]:
    """Title, explanation and panels of each part."""
    import wandb_workspaces.reports.v2 as reports

    def summary(predictor: str, metric: str) -> Any:
        return reports.SummaryMetric(summary_key("test", predictor, metric))

    names = shown.predictors
    bars = [
        reports.BarPlot(title=f"{metric}, test", metrics=[summary(name, metric) for name in names], max_bars_to_show=60)
        for metric in METRICS
    ]
    table = reports.WeavePanelSummaryTable(table_name="predictors", layout=_wide(reports))
    yield "Predictors", "Each predictor on test pixels; choose a dataset by its run set.", [*bars, table]
    betas = [_over_beta(reports, summary(name, "auroc"), f"{name}, auroc over beta") for name in names]
    yield "Beta", "One point for each run; everything else equal, its seeds lie above each other.", betas
    spread = [
        reports.BarPlot(
            title=f"{name}, auroc: mean and standard deviation over seeds",
            metrics=[summary(name, "auroc")],
            groupby="config.beta",
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for name in names
    ]
    yield "Seeds", "Runs that differ in nothing but their seed, by beta.", spread
    keys = ["images/input", "images/reconstruction", *(f"maps/{name}" for name in names)]
    media = [reports.MediaBrowser(title=key, media_keys=[key], num_columns=3) for key in keys]
    yield "Pictures", "Test images and maps; the layers show what was found, missed and called in error.", media
    curves = [reports.LinePlot(title=key, x=STEP, y=[key]) for key in HEALTH]
    yield "Training", "ELBO, rec and KL in nats per image, active latent units, and beta, over epochs.", curves


def _over_beta(reports: Any, metric: Any, title: str) -> Any:
    return reports.ScatterPlot(title=title, x=reports.Config("beta"), y=metric, running_ymean=True)


def _wide(reports: Any) -> Any:
    return reports.Layout(w=24, h=10)


def spec(workspace: Any, report: Any) -> str:
    """Both as JSON, as W&B's server takes them."""
    models = {"workspace": workspace._to_model(), "report": report._to_model()}
    plain = {
        name: json.loads(model.model_dump_json(by_alias=True, exclude_none=True)) for name, model in models.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def save(folder: Path, workspace: Any, report: Any) -> dict[str, str]:
    """Create both at W&B, or update those that the folder's file names; their addresses. Raises ConfigError."""
    place = folder / PLACE
    known = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    try:
        if known:
            old, older = type(workspace).from_url(known["workspace"]), type(report).from_url(known["report"])
            old.sections, older.blocks, older.description = workspace.sections, report.blocks, report.description
            workspace, report = old, older
        workspace.save()
        report.save()
    except Exception as error:  # W&B's own words say whether it is the login, the entity or the net
        line = str(error).partition("\n")[0]
        raise ConfigError(f"W&B refused the dashboard ({line}); `wandb login`, or write it with --spec FILE") from error
    urls = {"workspace": str(workspace.url), "report": str(report.url)}
    place.write_text(json.dumps(urls, indent=1) + "\n", encoding="utf-8")
    return urls
