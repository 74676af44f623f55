"""What is counted, drawn and recorded of volumes is that of their slices."""

import pytest
import pytorch_lightning as pl
import torch

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.config.schema import LocalizationConfig
from anomaly_bench.deployment import localize_files
from anomaly_bench.localization import LocalizationCallback, Localizer
from anomaly_bench.localization.localizer import no_advance
from anomaly_bench.localization.passes import count, fresh, validate
from anomaly_bench.models import build_model
from anomaly_bench.predictors import Intensity, LocalContrast, Reconstruction
from anomaly_bench.runs.data import build_data
from anomaly_bench.runs.run import run

VOLUMES = ["dataset.depth=3", "model=conv3d", "model.channels=[4,8]", "model.latent=4"]
WITHOUT_MODEL = {"a": Intensity(smooth=1.0, erode=1), "b": LocalContrast(smooth=0.0, median=3)}


def counted(overrides):
    """All that is counted of validation and test, of predictors that ask no model."""
    config = load_config(overrides)
    data = build_data(config, Reporter())
    localizer = Localizer(build_model(config.model, data.image_shape).eval(), WITHOUT_MODEL)
    pivots = dict.fromkeys(WITHOUT_MODEL, 0.5)
    validation = validate(localizer.maps, pivots, *data.val_dataloader(), config.localization, no_advance)
    tallies = fresh(pivots, config.localization, validation.thresholds)
    for batch in data.test_dataloader():
        count(tallies, localizer.maps(batch), batch)
    numbers = {}
    for name, tally in tallies.items():
        for part, row in (("validation", validation.measures[name]), ("test", tally.measures())):
            numbers |= {(name, part, key): measure.value for key, measure in row.items()}
        for row in tally.subjects.rows():
            numbers |= {(name, row["subject"], key): value for key, value in row.items() if key != "subject"}
        numbers |= {(name, "image", index): value for index, value in enumerate(tally.scores)}
    return numbers, {name: (tally.lesions.rows(), tally.labels, tally.owners) for name, tally in tallies.items()}


def test_each_slice_of_a_volume_counts_as_it_counts_alone(volumes_run):
    (flat, rest), (found, others) = counted(volumes_run), counted([*volumes_run, *VOLUMES])
    assert others == rest
    assert found == {key: None if value is None else pytest.approx(value, rel=1e-9) for key, value in flat.items()}
    assert len(found) > 100


def test_a_trainer_that_predicts_gives_maps_in_the_shape_of_the_volumes(volumes_run):
    config = load_config([*volumes_run, *VOLUMES])
    data = build_data(config, Reporter())
    model = build_model(config.model, data.image_shape)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    error = {"error": Reconstruction(smooth=0.0)}
    callback = LocalizationCallback(error, LocalizationConfig(bits=12))
    predicted = pl.Trainer(accelerator="cpu", callbacks=[callback], **quiet).predict(model, datamodule=data)
    for batch, outputs in zip(data.predict_dataloader(), predicted, strict=True):
        torch.testing.assert_close(outputs["error"], (batch["image"] - outputs["reconstruction"]).abs())
        (score,) = Localizer(model, error)(batch["image"], batch["foreground"]).values()
        torch.testing.assert_close(score, outputs["error"])


@pytest.mark.slow
def test_a_run_of_volumes_records_all_that_one_of_slices_does(volumes_run, tmp_path):
    result = run(load_config([*volumes_run, *VOLUMES, "localization.monitor_every=1", "predictors=fast"]))
    folder = next(tmp_path.glob("runs/*"))
    assert set(result.predictors) == set(load_config(["predictors=fast"]).predictors.members)
    for name, row in result.predictors.items():
        assert 0 <= row.test["auroc"].value <= 1, name
        assert row.test["image_auroc"].value is not None
        assert set(row.criteria) == {"synthetic_ap", "synthetic_auroc", "elbo", "iwae", "false_positives"}
        assert all(value is not None for value in row.criteria.values())
    assert {"overview.png", "model.png", "rec_l1.png", "epoch_001"} <= {
        path.name for path in (folder / "pictures").iterdir()
    }
    data = build_data(load_config([*volumes_run, *VOLUMES]), Reporter())
    (subject,) = {data.store.subjects[one] for one in data.store.subject[data.indices["test"][:1]]}
    outcome = localize_files(folder, data.root() / subject, tmp_path / "maps", predictors=["rec_l1"], overlay=False)
    batch = next(iter(data.test_dataloader()))
    score = Localizer.load(folder, "rec_l1")(batch["image"], batch["foreground"])["rec_l1"]
    own = (batch["subject"][:, None] == batch["subject"][0]) & batch["foreground"].flatten(3).any(3)[:, 0]
    expected = score.transpose(1, 2)[own].masked_fill(~batch["foreground"].transpose(1, 2)[own], -torch.inf)
    top = [float(one.flatten().topk(max(1, round(int(one.isfinite().sum()) / 100))).values.mean()) for one in expected]
    (record,) = outcome.done
    found = {row["slice"]: row["image_score"] for row in record["predictors"]["rec_l1"]["slices"]}
    assert found == pytest.approx(dict(zip(batch["slice"][own].tolist(), top, strict=True)), rel=1e-4)
