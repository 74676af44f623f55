"""Predictors: rules from what a model says about an image to a map of how anomalous each pixel is."""

from .base import REGISTER, Predictor, channel_mean, register
from .baselines import Intensity, LocalContrast
from .ensemble import Ensemble, SeedEnsemble
from .projection import Projection
from .restoration import Restoration
from .sampling import LatentVariance
from .single import Combination, Gradient, Reconstruction
from .subsets import PixelSample, SubsetSearch, best_subset
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
