"""The report without a browser: what is in the file, cut to size, escaped, and the same twice."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from anomaly_bench.pictures.panels import Calibrated, Sample, draw_panels
from leaderboard.board import build
from leaderboard.record import METRICS, PANEL, Panel, PanelRow
from leaderboard.report import gallery, html_report, page, table
from leaderboard.report.details import Details
from leaderboard.report.gallery import galleries
from leaderboard.report.plots import plot_data
from leaderboard.report.problems import glance, problems
from leaderboard.report.provenance import provenance_tables
from leaderboard.report.table import (
    cut,
    front_tables,
    leaderboards,
    of_sheet,
    setting_tables,
    view_tables,
    with_all_metrics,
)
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.show.sheets.sheet import BEST, TIED, Sheet
from leaderboard.show.sheets.views import VIEWS

HOSTILE = '</script><script>window.hit=1</script><img src=x onerror="window.hit=1">&amp;"\'\u2028\u202egpj'


@pytest.fixture(scope="module")
def board(make_sweep):
    """Six datasets; a hostile predictor, dataset, damaged result and failure, and a seed that is missing."""
    levels = {"rec_l1": 0.6, "grad_kl": 0.5, HOSTILE: 0.8}
    runs = make_sweep(levels, ["d0", "d1", "d2", "d3", "d4", HOSTILE], model="beta_vae")
    identity = {"dataset": "d0", "model": "beta_vae", "beta": 1.0, "setting_id": "setting0-1.0"}
    plan = [PlannedRun(run_id="later", seed=9, folder="f", **identity)]
    return build(Collection(runs, [f"{HOSTILE}: damaged"], plan, {HOSTILE: HOSTILE}))


@pytest.fixture(scope="module")
def text(board):
    return html_report(board)


class Tags(HTMLParser):
    """Every tag with its attributes, and the texts outside of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.raw = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.raw = tag in ("script", "style")

    def handle_data(self, data):
        if not self.raw:
            self.texts.append(data)


@pytest.fixture(scope="module")
def tags(text):
    parser = Tags()
    parser.feed(text)
    return parser


def blob(text, name):
    return json.loads(re.search(rf'id="data-{name}">(.*?)</script>', text, re.S)[1])


def test_names_of_runs_are_data_and_never_markup(text, tags):
    assert [tag for tag, attributes in tags.tags if any(name.startswith("on") for name in attributes)] == []
    data = [attributes for tag, attributes in tags.tags if tag == "script" and "type" in attributes]
    assert len([tag for tag, _ in tags.tags if tag == "script"]) == len(data) + 2
    literal = HOSTILE.replace("\u202e", "\ufffd")  # which would turn what follows, the page's own words too
    assert any(literal in one for one in tags.texts)
    assert blob(text, "leaderboard")[0]["rows"][0][0] == literal
    assert "<script>window" not in text
    assert "\u202e" not in text
    assert "\u2028" not in re.sub(r"<bdi>.*?</bdi>|<t[hd].*?</t[hd]>|<h3>.*?</h3>|alt=\".*?\"", "", text)


def test_the_file_needs_no_other_file_and_its_policy_allows_its_own_scripts_alone(text, tags):
    policy = next(attributes["content"] for tag, attributes in tags.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]
    for tag, attributes in tags.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert len(text) < 3_000_000


def test_the_same_runs_give_the_same_bytes(board, text):
    assert html_report(board) == text


def test_the_leaderboard_keeps_numbers_marks_counts_and_order(board):
    details = Details()
    first = leaderboards(board, details)[1]
    assert (first.title, first.caption, first.header[first.sort]) == (
        "d0, settings by AP on validation",
        "Model: beta_vae.",
        "pixel AUROC",
    )
    row = next(one for one in board.rows if one.dataset == "d0" and one.predictor == HOSTILE and one.beta == 1.0)
    at = next(at for at, cells in enumerate(first.rows) if cells[:2] == (HOSTILE, "1"))
    mean = row.test["auroc"]
    assert first.rows[at][2] == f"{mean.mean:.3f} ± {mean.sd:.3f}"
    assert first.rows[at][-1] == "3/4*"
    means = [float(cells[2].split()[0]) for cells in first.rows]
    assert means == sorted(means, reverse=True)
    marked = {first.rows[k][:2]: set(marks) - {" "} for k, marks in enumerate(first.marks) if marks}
    assert marked[HOSTILE, "1"] == {BEST}
    assert all(marks <= {BEST, TIED} for marks in marked.values())
    assert first.header[first.heat[0]] == "pixel AUROC"
    assert [first.header[column] for column in first.folded] == list(table.MORE)
    setting_tables(board, details)
    blob = details.blob()
    setting, named, *values = blob["rows"][first.links[at][0]]
    behind = blob["settings"][setting]
    assert (behind["name"], blob["predictors"][named]) == ("d0, beta_vae, beta 1", HOSTILE)
    assert [run[:2] for run in behind["runs"]] == [[seed, f"setting0-1.0-{seed}"] for seed in range(3)]
    assert [run[0] for run in values] == pytest.approx(row.samples.test[:, 0], abs=5e-4)
    assert [blob["lines"][place] for place in behind["own"]] == ["model.beta: 1.0"]
    assert 'dataset.domain: "medical"' in [blob["lines"][place] for place in blob["common"]["d0"]]


def test_every_metric_has_a_table_of_predictors_over_datasets(board):
    details = Details()
    tables = {one.title: one for one in front_tables(with_all_metrics(board), details)}
    assert len(tables) == 2 * len(METRICS)
    found = tables["fpr95 of predictors over datasets, settings by fpr95 on validation"]
    lowest = min(found.rows, key=lambda row: float(row[1].split()[0]))[0]  # the lower the better
    assert [row[0] for row, marks in zip(found.rows, found.marks, strict=True) if marks[1:2] == BEST] == [lowest]
    rows = details.blob()["rows"]
    assert [len(places) for places in found.links] == [6] * 3
    assert {rows[place][1] for place in found.links[0]} == {details.blob()["predictors"].index(found.rows[0][0])}


def test_what_there_is_no_room_for_is_left_out_of_what_stands_behind_a_row(board, monkeypatch):
    monkeypatch.setattr("leaderboard.report.details.VALUES", 3 * len(METRICS))
    details = Details()
    leaderboards(board, details)
    assert [len(values) for _, _, *values in details.blob()["rows"]][:3] == [3, 0, 0]


def test_operating_curves_are_means_over_seeds_of_the_main_rows(make_run):
    recall = [[0.1 * seed + place / 100 for place in range(42)] for seed in range(3)]
    runs = [
        make_run(seed, {"a": {"value": 0.5 + seed / 100, "curves": {"recall": recall[seed]}}, "b": 0.4})
        for seed in range(3)
    ]
    (entry,) = plot_data(build(Collection(runs)))["operating"]
    assert (entry["metric"], entry["axes"], entry["x"][:2]) == ("ROC", ["false-positive rate", "recall"], [0.0, 1e-4])
    (curve,) = entry["curves"]
    assert curve["name"] == "a"
    assert curve["y"][10] == pytest.approx(0.2)


def test_every_view_with_rows_is_in_the_page(board, text):
    shown = {view for view in VIEWS if view != "claims" and any(sheet.rows for sheet in VIEWS[view](board))}
    assert (shown | {"settings"}) - {"predictors"} == {name for name in page.VIEWS if f'id="data-view-{name}"' in text}
    beta = view_tables(board, "beta")[0]
    assert (beta.header, beta.together) == (("predictor", "beta 1", "beta 4"), True)
    for view in shown:
        assert all(
            len(row) == len(one.header) == len(one.kinds) for one in view_tables(board, view) for row in one.rows
        )


def test_problems_come_first_and_only_when_there_are_any(board, text):
    found = problems(board)
    assert found["Missing runs"] == ["d0, beta_vae, beta 1: 3 of 4 seeds with a result"]
    assert list(found) == ["Results left out", "Failed runs", "Missing runs"]
    assert text.index('id="problems"') < text.index('id="glance"')
    whole = [replace(row, planned=row.n) for row in board.rows]
    assert problems(replace(board, rows=whole, damaged=[], failed={})) == {}
    assert problems(replace(board, damaged=["x"] * 150))["Results left out"][-1] == "… and 50 more"


def test_long_tables_are_cut_and_say_so():
    tables = [
        of_sheet(Sheet("chosen", name, ("predictor", "AP"), [(f"p{at}", "0.5") for at in range(size)]))
        for name, size in (("a", 9), ("b", 2))
    ]
    cuts = cut(tables, 6)
    assert [len(one.rows) for one in cuts] == [3, 2]
    assert [one.note for one in cuts] == ["The first 3 of 9 rows; --csv and --json write all.", ""]
    assert cut(tables, 11) == tables


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [("AP", {"0.5 ± 0.1", "–"}, "number"), ("p", {"< 0.001"}, "number"), ("beta", {"1", "4"}, "choice"),
     ("beta", {"1"}, "number"), ("who", {"a1", "2"}, "text")],
)  # fmt: skip
def test_kinds_of_columns(name, values, kind):
    assert table._kind(name, values) == kind


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([0.5], [0.5, None, None]),
        ([0.8, 0.7], [0.75, None, None, [0.7, 0.8]]),
        ([0.7, 0.75, 0.8], [0.75, 0.6258, 0.8742]),
    ],
)
def test_an_interval_over_seeds_is_drawn_of_three_and_of_two_both_values(make_run, values, drawn):
    """0.75 ± 4.3027 · 0.05 / √3, t of two degrees of freedom."""
    runs = [make_run(seed, {"a": value}) for seed, value in enumerate(values)]
    other = make_run(0, {"a": 0.6}, setting_id="b", beta=4.0)
    plots = plot_data(build(Collection([*runs, other])))
    (entry,) = [one for one in plots["beta"] if one["metric"] == "pixel AUROC"]
    assert entry["curves"] == [{"name": "a", "points": [[1, *drawn], [4, 0.6, None, None]]}]


def test_each_seeds_training_is_drawn_thinned_with_its_best_epoch(make_run):
    epochs = list(range(1, 201))
    curve = {"epoch": epochs, "val/elbo": [None, *(-1.0 / at for at in epochs[1:])], "train/rec": epochs}
    runs = [make_run(seed, curve=curve, training={"epochs": 200, "best_epoch": 200 - seed}) for seed in range(2)]
    runs += [make_run(0, dataset="older", setting_id="o")]
    (entry,) = plot_data(build(Collection(runs)))["training"]
    assert (entry["where"], entry["metric"]) == ("tiny, vae, beta 1", "val/elbo")
    assert [(curve["name"], curve["best"], len(curve["points"])) for curve in entry["curves"]] == [
        ("seed 0", 200, 60),
        ("seed 1", 199, 61),
    ]
    points = entry["curves"][0]["points"]
    assert (points[0], points[-1]) == ([2, -0.5], [200, -0.005])
    assert 'data-plot="training"' in html_report(build(Collection(runs)))


def test_ensembles_over_seeds_are_counted_apart_from_runs_and_draw_no_training(make_run):
    curve = {"epoch": [1, 2], "val/elbo": [-2.0, -1.0]}
    runs = []
    for beta in (4.0, 1.0):
        one = {"setting_id": f"{5 - beta}", "beta": beta, "curve": curve}
        runs += [make_run(seed, {"a": beta / 10}, **one) for seed in (0, 1)]
        members = [run.run_id for run in runs[-2:]]
        runs.append(make_run(0, {"a@seeds": beta / 10}, run_id=f"ensemble{beta}", ensemble_of=members, **one))
    board = build(Collection(runs))
    assert "<p>4 runs, 2 ensembles over seeds, 1 predictor, 1 dataset, 2026-01-02</p>" in html_report(board)
    drawn = [(entry["where"], [curve["name"] for curve in entry["curves"]]) for entry in plot_data(board)["training"]]
    assert drawn == [(f"tiny, vae, beta {beta}", ["seed 0", "seed 1"]) for beta in (1, 4)]
    (line,) = glance(board)
    assert [line[key] for key in ("settings", "betas", "predictors", "runs")] == [2, "1, 4", 1, "4/4"]
    (settings, *_), _ = provenance_tables(board)
    assert {row[settings.header.index("runs")] for row in settings.rows} == {"2"}


def test_provenance_names_versions_digests_dates_and_what_settings_differ_in(board):
    tables, notes = provenance_tables(board)
    settings = next(one for one in tables if one.title == "Settings")
    assert len(settings.rows) == 12
    row = dict(zip(settings.header, settings.rows[0], strict=True))
    assert (row["seeds"], row["first"], row["data"], row["git revision"]) == (
        "0, 1, 2",
        "2026-01-02 03:04",
        "d",
        "not recorded",
    )
    differ = next(one for one in tables if one.title == "d0: what its settings differ in")
    assert (differ.header, differ.rows) == (("setting", "model.beta"), [("setting0", "1.0"), ("setting0", "4.0")])
    assert notes == []


def pictured(folder, captions):
    """Panels of the predictor a, whose maps are flat: 0, half and the whole of the scale; 12 by 8 pixels."""
    image, mask = torch.full((1, 8, 12), 0.25), torch.zeros(8, 12, dtype=torch.bool)
    shares, ranks = (0.9999, 0.99, 0.0), (("best", 0.9), ("between", 0.4), ("worst", 0.1))
    samples = [
        Sample(caption, image, mask, ~mask, 2 * image, {"a": torch.full((8, 12), share)}, *rank)
        for caption, share, rank in zip(captions, shares, ranks, strict=True)
    ]
    draw_panels(samples, folder, Calibrated(lambda name, scores: scores, 0.99, "b"))


def embedded(source):
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


@pytest.mark.parametrize(
    ("tile", "size"), [((96, 64), (192, 128)), ((64, 128), (128, 256)), ((64, 64), (128, 128)), ((500, 50), (256, 26))]
)
def test_a_tile_is_128_pixels_at_its_shorter_side_unless_the_other_is_too_long(tile, size):
    panel = Panel(rows=[PanelRow("a")], lefts=[0], top=0, step=1, tile=tile)
    assert gallery._size(panel) == size


def test_the_gallery_cuts_the_panels_of_a_run_best_case_first(make_run, tmp_path):
    subjects = {"value": 0.5, "subjects": [0.1, 0.9, 0.4], "names": ["p1", "p2", "p3"]}
    pictured(tmp_path / "pictures", ["p1 · 7", "p2 · 8", "p3 · 9"])
    board = build(
        Collection([replace(make_run(0, {"a": subjects, "../b": subjects | {"value": 0.4}}), folder=tmp_path)])
    )
    (found,), notes = galleries(board)
    assert found.decided_by == "b"
    assert found.cases == [("best, AP 0.900", "p1 · 7"), ("between, AP 0.400", "p2 · 8"), ("worst, AP 0.100", "p3 · 9")]
    assert [strip.name for strip in found.strips] == ["image", "mask", "reconstruction", "a"]
    scores = [
        (None, 0, 96),
        (None, 0, 96),
        (None, 0, 0),
    ]  # no pixel of a mask; 96 of the foreground at the threshold or above
    assert found.data == {
        "dataset": "tiny",
        "setting": "vae, beta 1, seed 0",
        "lesions": [0] * 3,
        "scores": {"a": scores},
    }
    assert (found.notes, notes) == (["Without a readable picture: ../b (its name leads out of the folder)"], [])
    strips = {one.name: embedded(one.source) for one in found.strips}
    assert {strip.size for strip in strips.values()} == {(found.width, found.height)}
    assert (found.tile, found.height) == (192, 128)  # the proportions of an image
    centres = [(found.tile + gallery.GAP) * at + found.tile // 2 for at in range(3)]
    grey = [strips["image"].getpixel((x, 48))[0] for x in centres]
    assert grey == pytest.approx([63] * 3, abs=4)
    assert np.asarray(strips["image"])[:, : found.tile, :3].std() < 3  # no gap or neighbour is in the tile
    assert strips["image"].getpixel((found.tile + gallery.GAP // 2, 9))[3] == 0  # the page shows between tiles
    colours = np.array([strips["a"].getpixel((x, 48))[:3] for x in centres])
    ramp = embedded(found.scale.source).convert("RGB")
    ends = [ramp.getpixel((x, 7)) for x in (ramp.width - 2, ramp.width // 2, 1)]
    assert np.abs(colours - np.array(ends)).max() < 16
    assert found.scale.labels == [(7.5, "50 %"), (25, "90 %"), (50, "99 %"), (75, "99.9 %"), (100, "99.99 %")]
    assert found.scale.threshold == 50
    page = html_report(board)
    assert "best, AP 0.900" in page
    assert (
        "by their AP under\n    <bdi>b</bdi>, which has the highest AP on validation of those that use the model. The arrow"
        in page
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "it does not say where its tiles are, as pictures of older runs"),
        ('{"rows": 3}', "it does not say where its tiles are"),
        (
            '{"rows":[{"caption":"p"}],"lefts":[0,9,18,27],"top":9,"step":9,"tile":[9,30]}',
            "its tiles lie outside of it",
        ),
        (
            '{"rows":[{"caption":"p"}],"lefts":[0,1,2,3],"top":0,"step":9,"tile":[9,9],"bar":[0,0,90000,90000]}',
            "its tiles lie outside of it",
        ),
    ],
)
def test_a_picture_that_does_not_say_what_is_where_is_left_out_by_name(text, why, make_run, tmp_path):
    (tmp_path / "pictures").mkdir()
    info = PngInfo()
    if text:
        info.add_itxt(PANEL, text)
    Image.new("RGB", (36, 36)).save(tmp_path / "pictures/a.png", pnginfo=info)
    found, notes = galleries(build(Collection([replace(make_run(0, {"a": 0.5}), folder=tmp_path)])))
    assert found == []
    assert f"a ({why}" in notes[0]


def test_a_picture_that_is_none_is_named_and_left_out(make_run, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    found, notes = galleries(build(Collection([replace(make_run(0, {"a": 0.5, "b": 0.4}), folder=tmp_path)])))
    assert found == []
    assert "cannot identify image file" in notes[0]
    assert "b (no picture)" in notes[0]
