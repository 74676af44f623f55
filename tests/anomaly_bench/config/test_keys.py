"""What is told of the keys of a config: each meaning once, and what is told is so."""

from dataclasses import fields
from typing import get_type_hints

import pytest

from anomaly_bench.config import SECTIONS
from anomaly_bench.config.checks import LOGGERS
from anomaly_bench.config.keys import KINDS, keys, meanings, told, written
from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import ModelConfig, RunConfig
from anomaly_bench.models import NETWORKS
from data_modules.base.options.folders import groups

PLACES = ["", *SECTIONS, *(group for group in groups() if group != "experiment")]


def _classes():
    """Every class of the schemas with its group, each kind's too."""
    left = [(RunConfig, "")]
    left += [(schema, group) for group in KINDS for schema in KINDS[group].values()]
    for schema, group in left:
        yield schema, group
        below = {part for hint in get_type_hints(schema).values() for part in (hint, *getattr(hint, "__args__", ()))}
        left += [(part, group) for part in below if hasattr(part, "__dataclass_fields__") and (part, group) not in left]


@pytest.mark.parametrize("place", PLACES)
def test_every_key_has_a_meaning(place):
    assert not [key.name for key in keys(place) if not key.meaning]


def test_every_key_of_every_schema_is_told_of():
    listed = {key.name.rpartition(".")[2] for place in PLACES for key in keys(place)}
    assert {item.name for schema, _ in _classes() for item in fields(schema)} - listed == {
        name for name, hint in get_type_hints(RunConfig).items() if hasattr(hint, "__dataclass_fields__")
    }


def test_a_meaning_is_told_once_and_of_a_key_that_there_is():
    for schema, group in _classes():
        in_docstring = set(meanings(schema))
        assert in_docstring <= {item.name for item in fields(schema)}, schema
        kind = next((kind for kind, found in KINDS.get(group, {}).items() if found is schema), "")
        if kind or not group:
            assert not in_docstring & set(told(group, kind).comments), schema


def test_defaults_and_ranges_are_those_of_a_run():
    found = {key.name: key for place in PLACES for key in keys(place)}
    config = load_config(["model=vae", "trainer=default"])
    assert found["model.lr"].default == config.model.lr
    assert found["model.lr"].takes == "number ≥ 1e-09 or null"
    assert found["seed"].takes == "integer ≥ 0, < 4294967296"
    assert found["engine.threads"].takes == "integer ≥ 1, ≤ 4096 or null"
    assert found["dataset.anomalous_labels"].takes == "list of integers ≥ 1 (1 or more) or null"
    for name in ("max_epochs", "patience", "precision", "checkpoint_share"):
        assert found[f"trainer.{name}"].default == getattr(config.trainer, name)
    assert found["logger"].choices == LOGGERS
    assert found["model.schedule"].choices == ("warmup", "cyclical", "capacity")
    assert found["model.network"].choices == tuple(NETWORKS)


def test_a_key_is_told_of_with_the_kinds_that_have_it():
    models = keys("model")
    assert [key.kinds for key in models if key.name == "model.latent"] == [("vae", "beta_vae", "ce_vae", "ae")]
    assert [key.kinds for key in models if key.name == "model.beta"] == [("beta_vae", "ce_vae")]
    masks = {key.kinds: key.default for key in models if key.name == "model.masks"}
    assert masks == {("vae", "beta_vae", "ce_vae", "ae"): 0, ("ce_vae",): 3}
    assert {key.name for key in models} == {
        f"model.{item.name}" for schema in KINDS["model"].values() for item in fields(schema)
    }
    assert meanings(ModelConfig) == {}
    assert keys("nosuch") == keys("experiment") == []


def test_comments_stand_beside_a_key_or_above_it(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "# @package _global_\n# What it is:\n# of two lines.\n"
        "a: 1  # beside\n# above,\n# two lines\nb: [1, '#']\n"
        "c:   # of a block\n  # within\n  d: '# no comment'  # yes\n  e: 2\n"
    )
    found = written(file)
    assert found.about == "What it is: of two lines."
    assert found.comments == {"a": "beside", "b": "above, two lines", "c": "of a block", "c.d": "yes"}
    assert found.values == {"a": 1, "b": [1, "#"], "c": None, "c.d": "# no comment", "c.e": 2}
