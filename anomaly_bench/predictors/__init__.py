"""Predictors: rules from what a model says about an image to a map of how anomalous each pixel is."""

from .base import REGISTER, Predictor, register
from .ensemble import Ensemble
from .projection import Projection
from .single import Combination, Gradient, Intensity, Reconstruction
from .suite import Suite, build_suite

__all__ = [
    "REGISTER",
    "Combination",
    "Ensemble",
    "Gradient",
    "Intensity",
    "Predictor",
    "Projection",
    "Reconstruction",
    "Suite",
    "build_suite",
    "register",
]
