"""Predictors: rules from what a model says about an image to a map of how anomalous each pixel is."""

from .base import REGISTER, Predictor, channel_mean, register
from .ensemble import Ensemble, SeedEnsemble
from .evidence import Evidence, frozen
from .rules.baselines import Intensity, LocalContrast
from .rules.latent_variance import LatentVariance
from .rules.one_pass import Combination, Gradient, LatentKL, Reconstruction
from .rules.projection import Projection
from .rules.restoration import Restoration
from .subset_search import PixelSample, SubsetSearch, best_subset
from .suite import Suite, build_suite, suite_of

__all__ = [
    "REGISTER",
    "Combination",
    "Ensemble",
    "Evidence",
    "Gradient",
    "Intensity",
    "LatentKL",
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
    "frozen",
    "register",
    "suite_of",
]
