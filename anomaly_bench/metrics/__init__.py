"""How well a map localizes anomalies: one pass, bounded memory, every number with the bounds that binning leaves.

curve = LocalizationCurve()
for scores, mask in maps:  # float and bool, (B, 1, H, W)
    curve.update(scores, mask)
value, low, high = curve.compute()["ap"]  # also auroc, dice_oracle, aupro, fpr95, …; None where undefined
dice = curve.dice_at(threshold_bin)  # threshold_bin = validation_curve.threshold_at_fpr(0.05), same pivot
"""

from .calibration import Calibration
from .curve import LocalizationCurve
from .exact import ExactCurve
from .formulas import CURVE_METRICS, Certified
from .images import image_ap, image_auroc, image_f1_oracle, top_k_mean
from .own import OwnMetric, own_metrics
from .regions import LesionDetection, Regions, find_regions, region_weight
from .subjects.counted import SubjectCurves
from .subjects.histograms import SubjectHistograms

__all__ = [
    "CURVE_METRICS",
    "Calibration",
    "Certified",
    "ExactCurve",
    "LesionDetection",
    "LocalizationCurve",
    "OwnMetric",
    "Regions",
    "SubjectCurves",
    "SubjectHistograms",
    "find_regions",
    "image_ap",
    "image_auroc",
    "image_f1_oracle",
    "own_metrics",
    "region_weight",
    "top_k_mean",
]
