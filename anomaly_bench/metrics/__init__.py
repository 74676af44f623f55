"""How well a map localizes anomalies: one pass, bounded memory, every number with the bounds that binning leaves.

curve = LocalizationCurve()
for scores, mask in maps:  # float and bool, (B, 1, H, W)
    curve.update(scores, mask)
value, low, high = curve.compute()["ap"]  # also auroc, dice_oracle, aupro, fpr95, …; None where undefined
dice = curve.dice_at(threshold_bin)  # threshold_bin = validation_curve.threshold_at_fpr(0.05), same pivot

Names are loaded when they are first used, so that `curves`, `operating` and `pooled` can be imported without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_bench.metrics.calibration import Calibration
    from anomaly_bench.metrics.curves import Certified
    from anomaly_bench.metrics.exact import ExactCurve
    from anomaly_bench.metrics.image_level import image_ap, image_auroc, image_f1_oracle, top_k_mean
    from anomaly_bench.metrics.lesions import LesionDetection
    from anomaly_bench.metrics.localization import LocalizationCurve
    from anomaly_bench.metrics.pooled import SubjectHistograms
    from anomaly_bench.metrics.readoffs import CURVE_METRICS
    from anomaly_bench.metrics.regions import Regions, find_regions, region_weight
    from anomaly_bench.metrics.subjects import SubjectCurves

_HOMES = {
    "calibration": ("Calibration",),
    "curves": ("Certified",),
    "exact": ("ExactCurve",),
    "image_level": ("image_ap", "image_auroc", "image_f1_oracle", "top_k_mean"),
    "lesions": ("LesionDetection",),
    "localization": ("LocalizationCurve",),
    "pooled": ("SubjectHistograms",),
    "readoffs": ("CURVE_METRICS",),
    "regions": ("Regions", "find_regions", "region_weight"),
    "subjects": ("SubjectCurves",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CURVE_METRICS",
    "Calibration",
    "Certified",
    "ExactCurve",
    "LesionDetection",
    "LocalizationCurve",
    "Regions",
    "SubjectCurves",
    "SubjectHistograms",
    "find_regions",
    "image_ap",
    "image_auroc",
    "image_f1_oracle",
    "region_weight",
    "top_k_mean",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
