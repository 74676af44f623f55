"""Two real processes against one: what is synced gives identical numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
import sys
import torch
import torch.distributed as dist
from anomaly_bench.metrics import LocalizationCurve, SubjectCurves

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
mask = torch.rand(7, 1, 24, 24) < 0.07
scores, subject = torch.randn(mask.shape) + 1.5 * mask, torch.arange(7) // 2
mine = torch.arange(7) % 3 < 2 if rank else torch.arange(7) % 3 == 2
for curve, whole in (
    (LocalizationCurve(pivot=0.1), LocalizationCurve(pivot=0.1, sync_on_compute=False)),
    (LocalizationCurve(), LocalizationCurve(pivot=float(scores[2].median()), sync_on_compute=False)),
    (LocalizationCurve(exact=True), LocalizationCurve(exact=True, sync_on_compute=False)),
):
    whole.update(scores, mask)
    for at in mine.nonzero()[:, 0].tolist():
        curve.update(scores[at], mask[at])
    if not rank:
        curve.update(scores[:0], mask[:0])
    assert curve.compute() == whole.compute()
    with curve.sync_context():
        threshold = curve.threshold_at_fpr(0.1)
        assert threshold == whole.threshold_at_fpr(0.1)
        assert curve.dice_at(threshold) == whole.dice_at(threshold)
    assert curve.dice_at(threshold) != whole.dice_at(threshold)
lone = LocalizationCurve(exact=True)
if rank:
    lone.update(scores, mask)
assert lone.compute() == whole.compute()
parts, everything = SubjectCurves(), SubjectCurves()
parts.update(scores[mine], mask[mine], None, subject[mine], 0.1, 550_000)
everything.update(scores, mask, None, subject, 0.1, 550_000)
nothing = LocalizationCurve()
nothing.update(scores, mask, torch.full_like(mask, bool(rank)))
assert nothing.pivot == scores.median()
mismatch = LocalizationCurve(pivot=float(rank))
mismatch.update(scores, mask)
try:
    mismatch.compute()
except ValueError as error:
    assert "curves of one pivot, got [0.0, 1.0]" in str(error)
else:
    raise AssertionError("pivots that differ")
gathered = [None, None]
dist.all_gather_object(gathered, parts)
gathered[0].merge(gathered[1])
assert gathered[0].rows() == everything.rows()
assert gathered[0].bootstrap(20) == everything.bootstrap(20)
dist.destroy_process_group()
print("equal")
"""


@pytest.mark.filterwarnings("ignore")
def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [out for out, _ in said] == ["equal\n"] * 2, said
