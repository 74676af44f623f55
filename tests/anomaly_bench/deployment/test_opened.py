"""The slices of inputs as volumes: those of the run's own data, and each slice in one place."""

import numpy as np
import torch
from fakes import volumes_config

from anomaly_bench.deployment.opened import in_volumes
from data_modules.base.batch import AnomalyBatch
from data_modules.modules.nifti import NiftiDataModule


def test_slices_of_any_step_make_the_volumes_that_the_run_has_of_them_and_each_counts_once(brats_root, cache):
    every = NiftiDataModule(volumes_config(brats_root, slice_step=1), cache_dir=cache)
    data = NiftiDataModule(volumes_config(brats_root, slice_step=2, depth=3), cache_dir=cache)
    every.setup()
    slices: AnomalyBatch = every.store.batch(np.arange(len(every.store)))
    volumes, places = in_volumes(slices, 3, 2)
    assert sorted(places.tolist()) == np.flatnonzero(volumes["foreground"].flatten(3).any(3)[:, 0]).tolist()
    for key in ("image", "mask", "foreground", "region_weight"):
        assert torch.equal(volumes[key].transpose(1, 2).flatten(0, 1)[places], slices[key]), key
    made = zip(volumes["subject"].tolist(), volumes["slice"].tolist(), volumes["image"], strict=True)
    found = {(subject, *numbers): image for subject, numbers, image in made}
    for batch in data.test_dataloader():
        for subject, numbers, image in zip(
            batch["subject"].tolist(), batch["slice"].tolist(), batch["image"], strict=True
        ):
            assert torch.equal(found[subject, *numbers], image)
