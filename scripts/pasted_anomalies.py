"""docs/images/pasted.png: anomalies pasted into validation images of the embedded datasets, and their masks in red."""

from pathlib import Path

import numpy as np
from PIL import Image

from anomaly_bench.base.progress import Reporter
from anomaly_bench.config.load import load_config
from anomaly_bench.runs.data import build_data
from anomaly_bench.selection.synthetic import spread, with_anomalies

COLUMNS, SIDE = 8, 112  # images, pixels

rows = []
for dataset in ("tiny_brain", "tiny_texture"):
    data = build_data(load_config([f"dataset={dataset}"]), Reporter())
    normal = spread(data.val_dataloader()[0], COLUMNS)
    assert normal is not None
    pasted, _ = with_anomalies(normal, polarity=data.polarity)
    pixels = (pasted["image"].clamp(0, 1) * 255).byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    marked = pixels.copy()
    marked[..., 0][pasted["mask"][:, 0].numpy()] = 255
    for images in (pixels, marked):
        tiles = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.NEAREST) for image in images]
        rows.append(np.concatenate([np.asarray(tile) for tile in tiles], axis=1))
picture = Image.fromarray(np.concatenate(rows)).quantize(128, method=Image.Quantize.MAXCOVERAGE)
picture.save(Path(__file__).parents[1] / "docs/images/pasted.png", optimize=True)
