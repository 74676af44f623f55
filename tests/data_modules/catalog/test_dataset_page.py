"""docs/datasets.md names every shipped dataset as its YAML does, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

from anomaly_bench.cli.main import build_parser
from anomaly_bench.config.grid import load_grid
from anomaly_bench.config.load import load_config
from data_modules.base.config import DatasetConfig
from data_modules.base.options.folders import options_of
from data_modules.catalog.fetch import ACCESS

PAGE = ROOT / "docs/datasets.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = {line.split("`")[1]: line for line in TEXT.splitlines() if line.startswith("| `")}
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()]
COMMANDS = [shlex.split(line, comments=True) for line in LINES]


@cache
def config_of(option: str) -> DatasetConfig:
    return load_config([f"dataset={option}"]).dataset


@pytest.mark.parametrize("option", options_of("dataset"))
def test_the_page_has_each_dataset_with_homepage_and_licence(option: str):
    config = config_of(option)
    about, healthy = config.about, getattr(config, "healthy", None)
    assert option in ROWS
    if healthy is not None:
        assert f"`{healthy.name}`" in ROWS[option]
    elif about is not None:
        assert about.access in ACCESS
        assert about.licence in ROWS[option]
        assert about.homepage in ROWS[option]
        assert ("fetch" in ROWS[option].split("|")[3]) == bool(about.downloads)


@pytest.mark.parametrize("option", options_of("dataset"))
def test_each_dataset_says_what_it_is_and_how_to_get_it(option: str):
    config = config_of(option)
    assert config.name == option
    if config.about is not None and config.about.access != "embedded":
        assert config.about.steps or config.about.downloads
        assert re.search(r"doi:10\.\d+/|arXiv:\d+\.\d+|https?://", config.about.citation)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_understood(command: list[str]):
    assert command[0] == "anomaly-bench"
    options = build_parser().parse_args(command[1:])
    overrides = getattr(options, "overrides", [])
    assert overrides or "dataset=" not in " ".join(command)
    load_grid(overrides)
    if command[1:3] == ["data", "fetch"]:
        assert options.name in options_of("dataset")


def test_the_page_has_commands_and_its_links_lead_somewhere():
    assert len(COMMANDS) > 10
    for target in re.findall(r"\]\((?!http)([^)]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        assert not file or (PAGE.parent / file).exists(), target
        assert not anchor or anchor in anchors_of(PAGE.parent / file if file else PAGE), target


def anchors_of(page: Path) -> set[str]:
    lines = page.read_text(encoding="utf-8").splitlines()
    headings = [line.lstrip("# ").lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}
