"""Keys and values that cannot be: exit code 2, one line that names the key, and nothing is made."""

import pickle
from functools import cache

import pytest
from omegaconf import OmegaConf

from anomaly_bench.config import grid

GRAMMAR = [
    "dataset=[tiny_brain,brats]",
    "model=[vae,ae]",
    "trainer=[default,short]",
    "predictors=[fast,all]",
    "engine=[local,slurm]",
    "experiment=[check,debug]",
    "+dataset@dataset.healthy=[ixi,hcp]",
    "dataset=[a,b],tiny_brain",
    "dataset=[]",
    "dataset=",
    "dataset=null",
    "dataset=3",
    "model={beta:3}",
    "model={}",
    "experiment=null",
    "trainer=range(2)",
    "dataset=barts",
    "dataset=tiny_brain,nope",
    "model=/etc/passwd",
    "model=../model/vae",
    "+dataset@dataset.healthy=nope",
    "model=glob(*)",
    "seed=glob(*)",
    "seed=glob([a,b])",
    "seed=range(0,10,0)",
    "seed=range(0,1,0.0)",
    "seed=range(1000000000)",
    "seed=range(0,1e300)",
    "seed=shuffle(range(1000000000))",
    "model.beta=range(0,1,1e-300)",
    "model.beta=range(0,nan)",
    "model.beta=range(0,inf)",
    "seed=range(0)",
    "seed=range(3,0)",
    "seed=range(0,3,-1)",
    "seed=range(a)",
    "seed=range()",
    "seed=range(3),9",
    "seed=choice()",
    "seed=interval(1,4)",
    "seed=1,,2",
    "seed=,",
    "seed=[1",
    "seed==1",
    "seed",
    "~seed",
    "~dataset",
    "[[[",
    "=3",
    "=",
    "=model",
    "seed=1,1",
    "model.beta=1,2,1",
    "dataset=tiny_brain,tiny_brain",
    "dataset=tiny-brain",
    "model.beta=\u22121",
    "seed=\uff10",
    "seed=0;1",
    "seed=0x10",
    "model.beta=1,",
    "model.channels=(16,32)",
    "model.channels=[16,32,]",
    "dataset.root=~nobody/x",
    "",
    "seed=" + "[" * 500,
    "k" * 5000,
    "seed=\x1b[31m1",
    "\x1b]0;title\x07=1",
    "seed=1\n2",
]
KEYS = [
    "model.bta=3",
    "modl.beta=3",
    "+foo=1",
    "++foo.bar=1",
    "beta=4",
    "hydra.run.dir=/tmp",
    "defaults=[]",
    "+sweep.seed=[1,2]",
    "dataset.layots={}",
    "trainer.epochs=3",
    "engine.partition=gpu",
    "dataset.category=tile",
    "model.kind=nope",
    "model.kind=ae",
    "dataset.kind=nope",
    "dataset.kind=pictures",
    "engine.kind=slurm",
]
VALUES = [
    "seed=",
    "seed=x",
    "seed=-1",
    "seed=1.5",
    "seed=true",
    "seed=null",
    "seed=nan",
    "seed=4294967296",
    "seed=[1]",
    "seed={a:1}",
    "seed=${nope}",
    "seed=1,x",
    "jobs=-1",
    "jobs=1e23",
    "out=",
    "out=null",
    "cache_dir=",
    "data_dir=' '",
    "logger=",
    "logger=tensorbord",
    "logger=[csv,wandb]",
    "model.name=",
    "model.name=null",
    "model.name=[a]",
    "model.name='a\x1b[31m'",
    "model.name=" + "n" * 101,
    "model.latent=0",
    "model.latent=-1",
    "model.latent=1e3",
    "model.latent=true",
    "model.latent=99999999999999999999999",
    "model.channels=[]",
    "model.channels=[0]",
    "model.channels=[16,-1]",
    "model.channels=[[16,32]]",
    "model.channels=16",
    "model.channels=[1000000000]",
    "model.attention=-1",
    "model.spatial=maybe",
    "model.sigma=0",
    "model.sigma=-1",
    "model.sigma=nan",
    "model.sigma=inf",
    "model.sigma=1e-300",
    "model.sigma=1e23",
    "model.noise=nan",
    "model.noise=-1",
    "model.noise=inf",
    "model.masks=-1",
    "model.masks=1000000000",
    "model.mask_size=0",
    "model.mask_size=nan",
    "model.lr=0",
    "model.optimizer=sgd",
    "model.lr=nan",
    "model.lr=1e-300",
    "model.lr=1e23",
    "model.weight_decay=-1",
    "model.weight_decay=nan",
    "model.beta=0",
    "model.beta=-4",
    "model.beta=nan",
    "model.beta=inf",
    "model.beta=1e300",
    "model.beta=true",
    "model.beta={a:1}",
    "model.warmup_epochs=-1",
    "model.cycles=0",
    "model.ramp=2",
    "model.capacity=nan",
    "model.options=3",
    "trainer.max_epochs=0",
    "trainer.max_epochs=1e23",
    "trainer.batch_size=1e23",
    "trainer.batch_size=0",
    "trainer.batch_size=nan",
    "trainer.batch_size=-16",
    "trainer.lr_factor=1",
    "trainer.rise=nan",
    "trainer.checkpoint_share=-0.1",
    "trainer.devices=0",
    "trainer.hold_data=maybe",
    "trainer.hold_data=2",
    "trainer.compile=-1",
    "model.spatial=0.5",
    "seed=${seed}",
    "model.beta=${oc.env:HOME}",
    "model.beta=1/2",
    "model.beta=1e-400",
    "dataset.size=64x64",
    "selection.criteria=[elbo,elbo]",
    "trainer.accelerator=tpu",
    "trainer.accelerator=",
    "trainer.accelerator=nope",
    "localization.fpr=0",
    "localization.fpr=nan",
    "localization.bits=40",
    "localization.bits=-1",
    "localization.smoothing=[]",
    "localization.smoothing=[0,0,1]",
    "localization.smoothing=[nan]",
    "localization.smoothing=[1e23]",
    "localization.smoothing=2",
    "localization.metrics=[a]",
    "localization.resamples=1000000000",
    "localization.pictures=-1",
    "predictors.only=rec_l1",
    "predictors.only=[rec_l1,rec_l1]",
    "predictors.only=[[a]]",
    "predictors.members=3",
    "predictors.members.rec_l1=3",
    "predictors.members.rec_l1.smooth=1e23",
    "predictors.members.rec_l1.smooth=nan",
    "predictors.members.rec_l1.median=1000000001",
    "dataset.size=64",
    "dataset.size=null",
    "dataset.size=[64,x]",
    "dataset.size=[nan,64]",
    "dataset.size=[1000000,1000000]",
    "dataset.root=",
    "dataset.name=" + "n" * 101,
    "dataset.split.val=nan",
    "dataset.split.val=1",
    "dataset.split.test=-0.1",
    "dataset.split.holdout=inf",
    "dataset.split.folds=1",
    "dataset.split.fold=-1",
    "dataset.split=3",
    "dataset.split.train_subjects=[a,a]",
    "dataset.anomalous_labels=[]",
    "dataset.anomalous_labels=[1,1]",
    "dataset.anomalous_labels=[0]",
    "dataset.slice_step=0",
    "dataset.min_foreground=nan",
    "dataset.affine_tolerance=-1",
    "dataset.layouts=null",
    "dataset.healthy=3",
    "engine.threads=0",
    "engine.threads=1000000000",
    "engine.runs_per_device=0",
]
# what only the model, the trainer and the data know, before any of them is made
PLANNED = [
    "model.latent=1000000000",
    "model.channels=[1000000,1000000]",
    "dataset.size=[32768,32768]",
    "dataset.size=[64]",
    "dataset.size=[4,4]",
    "dataset.size=[65,65]",
    "dataset.name=a/b",
    "dataset.plane=nope",
    "dataset.storage=nope",
    "dataset.polarity=nope",
    "dataset.duplicates=nope",
    "dataset.preprocess.x={use:nope}",
    "dataset.augment.x=3",
    "model.network=nope",
    "model.network=no.such.place",
    "model.network=os.system",
    "model.likelihood=nope",
    "model.variance=nope",
    "model.schedule=nope",
    "model.use=os.path",
    "model.options={a:1}",
    "model.attention=7",
    "model.channels=[4,4,4,4,4,4,4]",
    "predictors.only=[]",
    "predictors.only=[nope]",
    "predictors.only=['']",
    "predictors.members.rec_l1.use=nope",
    "predictors.members.rec_l1.nope=1",
    "localization.metrics.x=nope",
    "trainer.precision=64",
    "trainer.precision=16-true",
    "trainer.precision=bf16-true",
    "trainer.precision=nope",
]
SEVERAL = [
    (["seed=range(1000)", "model.beta=range(1,1000)"], "seed=…: a grid of 999,000 runs"),
    (["engine=slurm", "engine.time=0"], "engine.time=0"),
    (["engine=slurm", "engine.mem_gb=nan"], "engine.mem_gb=nan"),
    (["logger=wandb,csv"], "logger=csv,wandb: give one"),
    (["engine=slurm", "jobs=2"], "jobs=2"),
    (["dataset=mvtec_ad", "dataset.category=[tile,tile]"], "dataset.category="),
    (["dataset=folder", "dataset.mask_threshold=nan"], "dataset.mask_threshold=nan"),
    (["model=ce_vae", "model.context_weight=nan"], "model.context_weight=nan"),
    (["model=vae", "model.beta=2"], "model.beta: no such key with model=vae"),
]


@pytest.fixture
def nothing(cli, tmp_path, monkeypatch):
    """A call of the command line that has to be refused in one line, with nothing made; what the line says.

    What options compose to is composed once.
    """
    monkeypatch.setattr(
        grid, "compose_groups", lambda choices: merged(tuple(choices)) and OmegaConf.create({"choices": [*choices]})
    )
    monkeypatch.setattr(grid, "with_schema", lambda composed: pickle.loads(merged(tuple(composed.choices))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANOMALY_BENCH_CACHE", str(tmp_path / "cache"))

    def call(*arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert len(err) < 1000
        assert err.startswith("anomaly-bench: ")
        assert err[:-1].isprintable()
        assert list(tmp_path.iterdir()) == []
        return err

    return call


@cache
def merged(choices, compose=grid.compose_groups, merge=grid.with_schema):
    return pickle.dumps(merge(compose(choices)))


def _key(override):
    """What the message has to name: the key, or the group, or what there is in its place."""
    return (
        override.lstrip("+~")
        .partition("=")[0]
        .partition("@")[0]
        .replace("\x1b", "\ufffd")
        .replace("\x07", "\ufffd")[:50]
    )


@pytest.mark.parametrize("override", [*GRAMMAR, *KEYS, *VALUES], ids=lambda text: ascii(text[:40]))
def test_what_is_wrong_in_itself_is_refused_by_name(nothing, override):
    assert _key(override).partition(".")[0] in nothing("run", override)


@pytest.mark.parametrize("override", PLANNED)
def test_what_cannot_be_done_is_refused_before_anything_is_made(nothing, override):
    assert _key(override) in nothing("bench", override, "jobs=0")


@pytest.mark.parametrize(("overrides", "said"), SEVERAL)
def test_keys_that_do_not_go_together_are_named(nothing, overrides, said):
    assert said in nothing("bench", *overrides)


def test_a_key_that_is_given_twice_is_named(nothing):
    for verb in ("run", "bench"):
        assert "seed=1 seed=2: a key is given twice" in nothing(verb, "seed=1", "dataset=tiny_brain", "seed=2")


def test_the_number_of_jobs_is_given_once(nothing):
    for arguments in (["bench"], ["paper"], ["tune", "--space", "space.yaml"]):
        said = nothing(*arguments, "jobs=2", "--jobs", "3")
        assert said == "anomaly-bench: jobs=3 jobs=2: a key is given twice; leave one out\n"


def test_a_folder_of_data_that_is_not_there_is_no_folder_without_datasets(nothing, tmp_path, monkeypatch):
    said = nothing("paper", f"data_dir={tmp_path / 'dta'}", "--dry-run")
    assert f"data_dir={tmp_path / 'dta'}: there is no such folder" in said
    monkeypatch.setenv("ANOMALY_BENCH_DATA", str(tmp_path / "dat"))
    assert f"ANOMALY_BENCH_DATA={tmp_path / 'dat'}: there is no such folder" in nothing("paper", "--dry-run")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tiny_brain", "tiny_brain: expected KEY=VALUE, such as dataset=tiny_brain\n"),
        ("vae", "vae: expected KEY=VALUE, such as model=vae\n"),
        ("model.beta=[1", "model.beta=[1: no valid override (Hydra's grammar); write key=value"),
        ("seed=1,,2", "seed=1,,2: no valid override (Hydra's grammar); write key=value"),
        ("seed=some(1)", "Unknown function 'some'"),
    ],
)
def test_what_the_grammar_refuses_is_said_without_its_jargon(nothing, override, said):
    assert said in nothing("run", override)


def test_there_are_many_of_them():
    assert len(GRAMMAR) + len(KEYS) + len(VALUES) + len(PLANNED) + len(SEVERAL) >= 200


def test_one_run_is_not_submitted_to_a_cluster(nothing):
    assert "engine=slurm: `run` does its run in this process; `anomaly-bench bench`" in nothing("run", "engine=slurm")
    assert "jobs=0: " in nothing("bench", "engine=slurm", "jobs=0")


@pytest.mark.parametrize("text", ["range(0)", "range(1000000000)", "glob(*)", "[]"])
def test_a_malformed_sweep_in_a_file_is_refused_as_well(nothing, tmp_path_factory, text):
    file = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    file.write_text(f"sweep: {{seed: {text}}}" if text != "[]" else "sweep: {seed: []}")
    assert "seed" in nothing("bench", "--sweep", str(file))


def test_a_list_of_options_in_a_yaml_of_ones_own_is_refused(nothing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "experiment").mkdir()
    (folder / "experiment/both.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /dataset: [brats, tiny_brain]\n"
    )
    said = nothing("run", "experiment=both", "--config-dir", str(folder))
    assert "dataset: expected the name of one option" in said
