"""A trained model as a file that runs without this package: its graph in ONNX or PyTorch's own form, and a data sheet."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.files import explained
from anomaly_bench.config.messages import first_line
from anomaly_bench.localization import Localizer
from anomaly_bench.localization.tallies.batches import completed
from anomaly_bench.localization.trained import config_of, result_of
from anomaly_bench.models import VAE
from anomaly_bench.models.slices import like
from anomaly_bench.predictors import Suite, channel_mean
from anomaly_bench.predictors.evidence import frozen
from anomaly_bench.predictors.filters import gaussian_kernel, min_pool, slice_by_slice, weighted_window
from anomaly_bench.predictors.rules.one_pass import Reconstruction
from data_modules.base.atomic import write_atomic

from .datasheet import ROW, data_sheet

SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2"}
SHEET = "anomaly_bench.json"  # the name of the data sheet in both kinds of file
OUTPUTS = ("reconstruction", ROW, "kl")
NOT_IN_GRAPH = ("median", "erode", "noise_samples", "latent_samples")  # of what can stand around a predictor
TOLERANCE = 1e-4  # of an output's range
REMEDY = "choose another file (--out FILE)"

Outputs = dict[str, Tensor]
Run = Callable[[Tensor], Outputs]


class Exported(NamedTuple):
    """A file that has been written.

    sheet: its data sheet. differences: by output, the largest difference from the model that was found, absolute.
    """

    path: Path
    sheet: dict[str, Any]
    differences: dict[str, float]


class Graph(nn.Module):
    """Images (B, C, H, W) to `reconstruction` (B, C, H, W), `rec_l1` (B, 1, H, W) and `kl` (B,) in nats.

    Images are with their neighbours where the model sees them, the others of the slice in the middle; of a model of volumes all
    but kl have a depth, (B, C, D, H, W). row: the predictor whose
    raw map rec_l1 is; None for the mean over channels of |x − x̂|, as it is.
    """

    def __init__(self, model: VAE, row: Reconstruction | None) -> None:
        super().__init__()
        self.model = model
        self.min_pool = row.min_pool if row else 0
        sigma = (row and row.smooth) or 0.0
        # what `gaussian_smooth` does, which cuts batches into parts and so needs to know how large they are
        self.kernel = gaussian_kernel(sigma, max(1, round(3 * sigma))) if sigma else []

    def forward(self, image: Tensor) -> Outputs:
        mean, logvar = self.model.encode(image)
        reconstruction = self.model.decode(mean)
        score = channel_mean((self.model.middle(image) - reconstruction).abs())
        if self.kernel:
            score = slice_by_slice(partial(weighted_window, kernel=self.kernel), score)
        if self.min_pool:
            score = slice_by_slice(partial(min_pool, size=self.min_pool), score)
        return dict(zip(OUTPUTS, (reconstruction, score, self.model.kl(mean, logvar)), strict=True))


def export(
    run_folder: str | Path, path: str | Path | None = None, format: str = "onnx", overwrite: bool = False
) -> Exported:
    """Write the model of a finished run to one file: `onnx`, or `pt2` for torch.export.load; there whole or not at all.

    Its input is `image` (B, C, H, W) float32, its outputs are those of Graph, and its data sheet (see `data_sheet`), JSON, is
    the metadata `anomaly_bench.json`. What is written has been loaded again and compared with the model.

    path: model.onnx or model.pt2 in the run's folder if not given.
    Raises:
        ConfigError: the file exists, a package is missing, the model cannot be exported, or the file says something else.
        ResultError: the folder holds no finished run, or its files are damaged.
        OutputError: it cannot be written.
    """
    folder = Path(run_folder).expanduser()
    if not folder.exists() and has_magic(str(folder)):
        raise ConfigError(f"{folder}: export takes one run and no pattern; name its folder")
    target = _target(folder, path, format, overwrite)
    result, config = result_of(folder), config_of(folder)
    localizer = Localizer.load(folder, [ROW] if ROW in result.predictors else ())
    row, why_not = exportable_row(localizer.suite)
    sheet = data_sheet(result, config, row, why_not, localizer.learned if row else None)
    content, differences = to_bytes(localizer, row, sheet, format)
    with explained(target.parent, REMEDY):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
    return Exported(target, sheet, differences)


def to_bytes(
    localizer: Localizer, row: Reconstruction | None, sheet: Mapping[str, Any], format: str
) -> tuple[bytes, dict[str, float]]:
    """The content of the file, and by output how far it is from the model. Raises ConfigError as `export`."""
    name = f"{type(localizer.model).__name__} with model.network={localizer.model.hparams['network']}"
    save, load = (_onnx, _load_onnx) if format == "onnx" else (_pt2, _load_pt2)
    try:
        with _quietly():
            content = save(traced(localizer.model, row), json.dumps(sheet, indent=1, ensure_ascii=False))
            run = load(content)
    except Exception as error:  # whatever the tracer makes of a user's own code
        reason = first_line(_root(error))
        raise ConfigError(f"{name}: torch.export cannot make {format} of it ({reason})") from error
    differences = compare(run, localizer, row, sheet["range"] or [0.0, 1.0])
    return content, differences


def exportable_row(suite: Suite) -> tuple[Reconstruction | None, str | None]:
    """The row rec_l1 of a run, or None and why the graph has |x − x̂| as it is in its place."""
    row = suite.single.get(ROW)
    if row is None:
        return None, f"the run has no row {ROW}"
    if type(row) is not Reconstruction or row.error != "l1":
        return None, f"the run's row {ROW} is another predictor than the L1 reconstruction error"
    around = [f"{name}={getattr(row, name)}" for name in NOT_IN_GRAPH if getattr(row, name)]
    return (None, f"the run's row {ROW} has {', '.join(around)}, which the file cannot do") if around else (row, None)


def traced(model: VAE, row: Reconstruction | None) -> ExportedProgram:
    """The graph for batches of any size, without the paths of the source files that it was made from."""
    example = torch.zeros(2, *model.input_shape)  # two: a size of 1 would be taken for a constant
    with frozen(model), torch.no_grad():
        program = torch.export.export(Graph(model, row), (example,), dynamic_shapes={"image": {0: Dim("batch")}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def compare(run: Run, localizer: Localizer, row: Reconstruction | None, ends: list[float]) -> dict[str, float]:
    """By output, the largest absolute difference between a loaded file and the model on random images, five and one.

    ends: the least and the greatest value of images. Raises ConfigError if one exceeds 1e-4 of the range: of images, or from 0
    to the greatest KL (at least a nat).
    """
    low, high = ends
    noise = torch.rand(5, *localizer.model.input_shape, generator=torch.Generator().manual_seed(0))
    images = low + (high - low) * noise
    with localizer.evidence(completed({"image": images})) as evidence:
        score = like(row(evidence), images) if row else channel_mean(evidence.error)
        wanted = dict(zip(OUTPUTS, (evidence.reconstruction, score, evidence.kl), strict=True))
    ranges = dict.fromkeys(OUTPUTS, high - low) | {"kl": max(1.0, float(wanted["kl"].max()))}
    with torch.no_grad():
        five, one = run(images), run(images[:1])
    differences = {}
    for name, tensor in wanted.items():
        apart = torch.cat([five[name] - tensor, one[name] - tensor[:1]])
        differences[name] = float(apart.abs().max())
        if not differences[name] <= TOLERANCE * ranges[name]:  # NaN is no agreement
            raise ConfigError(
                f"the exported {name} differs from the model's by {differences[name]:.3g}, more than {TOLERANCE:g} of its "
                f"range {ranges[name]:.3g}; nothing was written: try the other --format"
            )
    return differences


def _target(folder: Path, path: str | Path | None, format: str, overwrite: bool) -> Path:
    if format not in SUFFIXES:
        raise ConfigError(f"--format {format}: expected {' or '.join(SUFFIXES)}")
    suffix = SUFFIXES[format]
    target = folder / f"model{suffix}" if path is None else Path(path).expanduser()
    if target.suffix != suffix:
        raise ConfigError(f"--out {target}: expected a name that ends in {suffix}, as --format {format} says")
    if target.exists() and not (overwrite and target.is_file()):
        raise ConfigError(f"{target}: exists already; --overwrite replaces a file, --out FILE writes another one")
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if format == "onnx" and missing:
        raise ConfigError(
            f"--format onnx: {missing[0]} is not installed; pip install 'anomaly-bench[onnx]', or take --format pt2"
        )
    return target


def _onnx(program: ExportedProgram, sheet: str) -> bytes:
    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_shapes={"image": {0: "batch"}},
    )
    assert made is not None  # what it is with dynamo=True
    made.model.metadata_props[SHEET] = sheet
    content: bytes = made.model_proto.SerializeToString()
    return content


def _load_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Outputs:
        values = session.run(list(OUTPUTS), {"image": images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, values, strict=True)}

    return run


def _pt2(program: ExportedProgram, sheet: str) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={SHEET: sheet})
    return stream.getvalue()


def _load_pt2(content: bytes) -> Run:
    module: Run = torch.export.load(io.BytesIO(content)).module()
    return module


def _root(error: Exception) -> Exception:
    """What an error came from in the first place: exporters wrap it in pages of advice."""
    return _root(error.__cause__) if isinstance(error.__cause__, Exception) else error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' warnings, which are about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
