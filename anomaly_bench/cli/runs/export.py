"""The verb `export`: its arguments and what it says of the file."""

from __future__ import annotations

import argparse

from anomaly_bench.cli.arguments import add_run, output_file

ABOUT = "write a trained model to one file, ONNX or PyTorch's pt2, that runs without this package"
EXAMPLE = "runs/tiny_brain-beta_vae-b4-s0-0a1b2c3d --format onnx --out model.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add = parser.add_argument
    add("--format", choices=("onnx", "pt2"), default="onnx", help="default onnx; pt2 is for torch.export.load")
    add("--out", type=output_file, metavar="FILE", help="default model.onnx or model.pt2 in the run's folder")
    add("--overwrite", action="store_true", help="replace the file if it exists")


def call(options: argparse.Namespace) -> int:
    """Write the file and say what it is, how far it is from the model, and where its threshold lies."""
    from anomaly_bench.deployment import export

    done = export(options.run, options.out, options.format, options.overwrite)
    sheet = done.sheet
    shape = ", ".join(str(side) for side in (len(sheet["channels"]), sheet["depth"], *sheet["size"]) if side)
    megabytes = done.path.stat().st_size / 1e6
    print(f"{done.path}: {megabytes:.2g} MB, image (B, {shape}) to {', '.join(done.differences)}")
    print("largest difference from the model:", *(f"{name} {value:.1e}" for name, value in done.differences.items()))
    if sheet["predictor"]["why_not"]:
        print(f"rec_l1 is |x - x̂| as it is, without a threshold: {sheet['predictor']['why_not']}")
    elif sheet["threshold"] is not None:
        share = sheet["threshold_fpr"]
        print(
            f"rec_l1 >= {sheet['threshold']:.6g} is anomalous, as at most {share:.3g} of normal validation pixels are"
        )
    return 0
