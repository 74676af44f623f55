"""Predictors: rules from what a model says about an image to a map of how anomalous each pixel is."""

from anomaly_bench.predictors.rules.baselines import Intensity, LocalContrast
from anomaly_bench.predictors.rules.latent_variance import LatentVariance
from anomaly_bench.predictors.rules.one_pass import Combination, Gradient, Reconstruction
from anomaly_bench.predictors.rules.projection import Projection
from anomaly_bench.predictors.rules.restoration import Restoration

from .base import REGISTER, Predictor, channel_mean, register
from .ensemble import Ensemble, SeedEnsemble
from .subset_search import PixelSample, SubsetSearch, best_subset
from .suite import Suite, build_suite

__all__ = [
    "REGISTER",
    "Combination",
    "Ensemble",
    "Gradient",
    "Intensity",
    "LatentVariance",
    "LocalContrast",
    "PixelSample",
    "Predictor",
    "Projection",
    "Reconstruction",
    "Restoration",
    "SeedEnsemble",
    "SubsetSearch",
    "Suite",
    "best_subset",
    "build_suite",
    "channel_mean",
    "register",
]
