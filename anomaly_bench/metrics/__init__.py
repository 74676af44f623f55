"""How well a map localizes anomalies: one pass, bounded memory, every number with the bounds that binning leaves.

curve = LocalizationCurve()
for batch in loader:
    curve.update(predictor(batch), batch["mask"], batch["foreground"], batch["region_weight"])
value, low, high = curve.compute()["ap"]  # also auroc, dice_oracle, aupro; None where undefined
dice = curve.dice_at(threshold_bin)  # threshold_bin = validation_curve.threshold_at_fpr(0.05), same pivot
"""

from anomaly_bench.metrics.curves import Certified
from anomaly_bench.metrics.image_level import image_ap, image_auroc, top_k_mean
from anomaly_bench.metrics.localization import LocalizationCurve
from anomaly_bench.metrics.subjects import SubjectCurves

__all__ = ["Certified", "LocalizationCurve", "SubjectCurves", "image_ap", "image_auroc", "top_k_mean"]
