"""The search for an ensemble's members in a run, against brute force on the saved model's maps."""

import itertools

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from scipy.stats import gmean
from sklearn.metrics import average_precision_score

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import PredictorsConfig
from anomaly_bench.localization import Localizer
from anomaly_bench.models import build_model
from anomaly_bench.predictors import build_suite
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run
from anomaly_bench.sweep.worker import choices_text
from leaderboard.record import read_result

pytestmark = pytest.mark.slow

WAYS = {"mean": np.mean, "product": gmean, "max": np.max}
LOOK = ["localization.bits=20", "localization.pictures=0", "localization.monitor_every=0", "predictors.only=[a,b,c,s]"]
SINGLE = "a:{use:intensity},b:{use:reconstruction},c:{use:gradient,of:kl}"


def members(*more):
    return f"predictors.members={{{','.join([SINGLE, *more])}}}"


def shares(folder, config):
    """Every single predictor's calibrated scores on all validation pixels (N, members), by ranks, and their labels (N,)."""
    data, suite = build_data(config, Reporter()), Localizer.load(folder).suite
    model = build_model(config.model, data.image_shape)
    model.load_state_dict(torch.load(folder / "model.ckpt", weights_only=True)["state_dict"])
    scores, masks = {name: [[], []] for name in suite.single}, [[], []]
    for part, loader in enumerate(data.val_dataloader()):
        for batch in loader:
            with frozen(model):
                maps = suite.maps(Evidence(model, batch["image"], batch["foreground"]), list(suite.single))
            for name, (score, _) in maps.items():
                scores[name][part].append(score.flatten())
            masks[part].append(batch["mask"].flatten())
    columns = []
    for parts in scores.values():
        normal, every = torch.cat(parts[0]).sort().values, torch.cat([*parts[0], *parts[1]])
        ranks = torch.searchsorted(normal, every) + torch.searchsorted(normal, every, right=True)
        columns.append((ranks / 2 / len(normal)).numpy())
    return dict(zip(scores, columns, strict=True)), torch.cat([*masks[0], *masks[1]]).numpy()


def test_a_search_takes_the_best_of_all_subsets_on_validation_and_is_then_an_ordinary_ensemble(pictures_run, tmp_path):
    config = load_config(
        [*pictures_run, *LOOK, members("s:{use:subset_search,members:[a,b,c],how:[max,mean,product]}")]
    )
    result = run(config)
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    assert read_result(folder / "result.json") == result
    choice = result.predictors["s"].choice
    found, labels = shares(folder, config)
    reached = {
        (subset, how): average_precision_score(labels, WAYS[how]([found[name] for name in subset], axis=0))
        for size in (2, 3)
        for subset, how in itertools.product(itertools.combinations("abc", size), WAYS)
    }
    assert (choice.tried, choice.pixels, choice.anomalous_pixels) == (len(reached), len(labels), labels.sum())
    assert choice.ap == pytest.approx(max(reached.values()), rel=1e-2)
    assert reached[tuple(choice.members), choice.how] == pytest.approx(max(reached.values()), rel=1e-2)
    assert f"; s: {choice.how} of {', '.join(choice.members)} (" in choices_text(result)
    assert result.predictors["b"].choice is None

    fixed = f"s:{{use:ensemble,members:[{','.join(choice.members)}],how:{choice.how}}}"
    other = run(load_config([*pictures_run, *LOOK, members(fixed), f"out={tmp_path / 'fixed'}"]))
    one, two = (replace(each.predictors["s"], seconds_per_image=0.0, choice=None) for each in (result, other))
    assert one == two


def flip_test_masks(root, data):
    """Call pixels beside the anomalous ones so in every anomalous test picture."""
    owners = data.store.subject[data.indices["test"]].tolist()
    names = {data.store.subjects[owner] for owner in owners}
    paths = [path for path in root.rglob("*_mask.png") if any(path.stem.removesuffix("_mask") in n for n in names)]
    for path in paths:
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 3, axis=(0, 1))).save(path)
    return len(paths)


def test_the_labels_of_test_images_have_no_part_in_the_choice(pictures_run, mvtec_root, tmp_path):
    overrides = [*pictures_run, *LOOK, members("s:{use:subset_search,members:[a,b,c]}")]
    config = load_config(overrides)
    first = run(config)
    assert flip_test_masks(mvtec_root, build_data(config, Reporter())) > 0
    second = run(load_config([*overrides, f"out={tmp_path / 'flipped'}"]))
    assert second.provenance.split_digest == first.provenance.split_digest
    one, two = first.predictors["s"], second.predictors["s"]
    assert (one.choice, one.validation) == (two.choice, two.validation)
    assert one.test["ap"] != two.test["ap"]


def test_a_search_without_anomalous_validation_images_chooses_on_pasted_anomalies(pictures_run):
    sought = members("s:{use:subset_search,members:[a,b,c],how:[max,mean]}")
    result = run(load_config([*pictures_run, *LOOK, "dataset.split.holdout=0", sought]))
    found = result.predictors["s"]
    assert found.choice.by == "synthetic"
    assert found.choice.anomalous_pixels > 50
    assert found.validation["ap"].value is None, "no validation image is anomalous"
    assert f"(synthetic AP {found.choice.ap:.3f})" in choices_text(result)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": ["a"]}, "at least two"),
        ({"members": ["a", "b"], "how": ["median"]}, "how=median: expected one of probit, mean, product, max"),
        ({"members": ["a", "b"], "how": []}, "expected at least one of probit"),
        ({"members": ["a", "b"], "pixels": 0}, "pixels=0"),
        ({"members": ["a", "e"]}, "e is an ensemble itself"),
        ({"members": ["a", "x"]}, "no predictor 'x'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(settings, message):
    single = {
        "a": {"use": "intensity"},
        "b": {"use": "reconstruction"},
        "e": {"use": "ensemble", "members": ["a", "b"]},
    }
    with pytest.raises(ConfigError, match=message):
        build_suite(PredictorsConfig(single | {"s": {"use": "subset_search"} | settings}))
