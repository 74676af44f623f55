"""The Python that the documents show runs as it stands, and what a shell would read is quoted."""

import re
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl

import anomaly_bench
from anomaly_bench.config.load import load_config
from anomaly_bench.runs.run import run
from data_modules.base.options.folders import options_of
from data_modules.catalog.entries import look

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[1]
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("docs/python.md", "README.md")}


def script_of(name: str) -> str:
    """All Python blocks of a document, one after the other, with epochs that a test has time for."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENTS[name], re.DOTALL)
    return re.sub(r"max_epochs=\d+", "max_epochs=2", "\n".join(blocks))


@pytest.fixture
def short(monkeypatch):
    """Trainers that look at a few batches only, and small networks where a document names no channels."""
    few = {"limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 2, "limit_predict_batches": 1}
    monkeypatch.setattr(pl, "Trainer", partial(pl.Trainer, **few))
    monkeypatch.setattr(anomaly_bench, "BetaVAE", partial(anomaly_bench.BetaVAE, channels=(4, 8)))


@pytest.mark.slow
def test_the_python_document_runs_word_for_word(tmp_path, monkeypatch, short):
    monkeypatch.chdir(tmp_path)
    overrides = [
        "dataset=tiny_texture",
        "trainer.max_epochs=1",
        "model.channels=[4,8]",
        "predictors.only=[rec_l1]",
        "out=runs",
        "localization.pictures=0",
        "localization.resamples=0",
    ]
    run(load_config(overrides))
    (folder,) = (tmp_path / "runs").glob("tiny_texture-*")
    script, names = re.sub(r"runs/tiny_texture-\S+(?=\")", str(folder), script_of("docs/python.md")), {}
    exec(compile(script, "docs/python.md", "exec"), names)
    assert list((tmp_path / "lightning_logs").glob("version_0/pictures/projection.png"))
    assert names["found"].shape == names["maps"]["rec_l1"].shape == (32, 1, 64, 64)
    assert 0 <= names["shares"].min() < names["shares"].max() <= 1
    assert names["localization"].suite.shown == ("asymmetry", "rec_l1", "both")
    assert names["low"] <= names["value"] <= names["high"]


def test_the_readmes_script_is_the_beginning_of_the_python_document():
    (script,) = re.findall(r"```python\n(.*?)```", DOCUMENTS["README.md"], re.DOTALL)
    first = re.search(r"```python\n(.*?)```", DOCUMENTS["docs/python.md"], re.DOTALL).group(1)
    bare = [re.sub(r"\s+#.*", "", line).replace(", NiftiDataModule", "") for line in first.splitlines()]
    assert all(re.sub(r"\s+#.*", "", line) in bare for line in script.splitlines() if line)


def test_the_readme_knows_as_many_datasets_as_data_list():
    access = [look(name, load_config([f"dataset={name}"]).dataset, ROOT, ROOT).access for name in options_of("dataset")]
    own, embedded = access.count("yours"), access.count("embedded")
    said = " ".join(DOCUMENTS["README.md"].split())
    others = len(access) - own - embedded
    assert f"Of the {len(access)} datasets that are known, {others} are cohorts and picture datasets of others" in said
    assert f"{embedded} are embedded, {own} take files of your own" in said


def test_what_a_shell_would_take_for_its_own_is_quoted_wherever_it_is_shown():
    shown = [path for name in ("README.md", "CONTRIBUTING.md", "Makefile") for path in [ROOT / name]]
    for folder in (
        "docs",
        "configs",
        "anomaly_bench",
        "data_modules",
        "leaderboard",
        "benchmarks",
        "examples",
        "scripts",
    ):
        shown += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".md", ".py", ".yaml", ".sh", ".ipynb", ".j2")
        ]
    assert len(shown) > 200
    bare = re.compile(r"(?<![\w.'\"])[a-z][\w.]*=(?:range|choice|shuffle|sort|interval)\(")
    assert bare.search("bench seed=range(5)")
    assert not bare.search("bench 'seed=range(5)'")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in shown
        for match in bare.finditer(path.read_text(encoding="utf-8"))
        if path.suffix != ".py" or match.group().endswith("=range(")
    ]
    assert found == []
