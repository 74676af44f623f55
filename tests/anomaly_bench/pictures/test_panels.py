"""What is drawn: tiles where the file says that they are, in colours that mean a share of normal pixels."""

import msgspec
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image
from sklearn.metrics import average_precision_score
from small_vae import images, trained

from anomaly_bench.pictures.model import model_pictures
from anomaly_bench.pictures.montage import INK, OUTLINE, tile_size
from anomaly_bench.pictures.panels import Calibrated, Sample, draw_model, draw_panels
from anomaly_bench.pictures.scale import LABELLED, coloured, heights_of, share_text
from leaderboard.record import PANEL, Panel

SIZE = 48


def test_the_scale_gives_each_ten_times_fewer_normal_pixels_as_much_room():
    np.testing.assert_allclose(heights_of([0, 0.9, 0.99, 0.999, 0.9999, 1]), [0, 0.25, 0.5, 0.75, 1, 1], atol=1e-6)
    np.testing.assert_allclose(heights_of([0, 0.9, 0.99, 0.999, 1], 0.9), [0, 0, 1 / 3, 2 / 3, 1], atol=1e-6)
    assert heights_of([0.5]) == pytest.approx(0.0753, abs=1e-4)
    assert list(map(share_text, LABELLED)) == ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]


def test_outside_the_foreground_the_paper_shows():
    drawn = coloured(np.array([[0.0, 1.0], [0.5, 1.0]]), np.array([[True, True], [True, False]]))
    expected = (np.array(colormaps["inferno"]([0.0, 1.0, 0.5]))[:, :3] * 255).astype(np.uint8)
    assert drawn.reshape(4, 3).tolist() == [*expected.tolist(), [255, 255, 255]]


def test_a_tile_is_a_whole_multiple_of_a_small_image_in_its_own_proportions():
    assert [tile_size(shape) for shape in ((64, 64), (48, 24), (144, 144), (100, 100))] == [
        (128, 128),
        (72, 144),
        (144, 144),
        (100, 100),
    ]
    assert tile_size((288, 144)) == (72, 144)


@pytest.fixture
def samples():
    """Two images: left half foreground, a mask in a corner of it; scores of the second ten times those of the first."""
    ramp = torch.linspace(0, 1, SIZE).expand(SIZE, SIZE)
    foreground, mask = (torch.zeros(SIZE, SIZE, dtype=torch.bool) for _ in range(2))
    foreground[:, : SIZE // 2] = mask[:4, :4] = True
    maps = [{"a": ramp * scale, "b": 1 - ramp} for scale in (0.1, 1.0)]
    ranks = (("best", 0.9), ("worst", 0.1))
    return [
        Sample(f"p{at} · 7", ramp[None], mask, foreground, ramp[None] / 2, shown, *rank)
        for at, (shown, rank) in enumerate(zip(maps, ranks, strict=True))
    ]


def drawn(path):
    """The tiles of a picture, [column][row], and what it says of itself."""
    with Image.open(path) as opened:
        panel, pixels = msgspec.json.decode(str(opened.info[PANEL]), type=Panel), np.asarray(opened.convert("RGB"))
    width, height = panel.tile
    tops = [panel.top + at * panel.step for at in range(len(panel.rows))]
    return [[pixels[top : top + height, left : left + width] for top in tops] for left in panel.lefts], panel, pixels


def test_calibrated_maps_share_one_scale_which_every_picture_shows(samples, tmp_path):
    draw_panels(samples, tmp_path, Calibrated(lambda name, scores: scores, 0.99, "a"))
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "b", "overview"}
    columns, panel, pixels = drawn(tmp_path / "overview.png")
    factor = panel.tile[0] // SIZE
    for name, column in zip("ab", columns[3:], strict=True):
        for sample, tile in zip(samples, column, strict=True):
            expected = coloured(heights_of(sample.maps[name].numpy()), sample.foreground.numpy())
            assert np.array_equal(tile[SIZE // 2 * factor :: factor, ::factor], expected[SIZE // 2 :])
            assert (tile[factor * 4, : factor * 4] == OUTLINE).all()  # below the mask, which is 4 pixels high
    assert (panel.decided_by, panel.why) == ("a", "which has the highest AP on validation of those that use the model")
    first = Calibrated(lambda name, scores: scores, 0.99, "a", validated=False)
    assert "under a, the first predictor that uses the model, as no validation image is anomalous." in first.notes[0]
    assert [(row.caption, row.rank, row.ap) for row in panel.rows] == [
        ("p0 · 7", "best", 0.9),
        ("p1 · 7", "worst", 0.1),
    ]
    assert [text for _, text in panel.labels] == ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    assert panel.threshold == pytest.approx(0.5)
    left, top, width, height = panel.bar
    bar = pixels[top : top + height, left : left + width]
    assert np.array_equal(bar[[0, -1], -1], (np.array(colormaps["inferno"]([1.0, 0.0]))[:, :3] * 255).astype(np.uint8))
    assert (pixels[top + round((height - 1) / 2), left - 8 : left - 2] == INK).all()
    assert drawn(tmp_path / "a.png")[1].bar[3] == height


def test_a_predictors_picture_says_what_it_reaches_in_each_image(samples, tmp_path):
    draw_panels(samples, tmp_path, Calibrated(lambda name, scores: scores, 0.5, "a"))
    for name in "ab":
        for row, sample in zip(drawn(tmp_path / f"{name}.png")[1].rows, samples, strict=True):
            scores, mask = (part[sample.foreground].numpy() for part in (sample.maps[name], sample.mask))
            assert row.own_ap == pytest.approx(average_precision_score(mask, scores))
            assert row.lesion == 16
            assert (row.found, row.false) == ((scores >= 0.5)[mask].sum(), (scores >= 0.5)[~mask].sum())
    assert drawn(tmp_path / "b.png")[1].rows[0].found == 16
    assert drawn(tmp_path / "overview.png")[1].rows[0].own_ap is None


def test_before_calibration_a_column_runs_from_its_lowest_to_its_highest_score_in_the_foreground(samples, tmp_path):
    draw_panels(samples, tmp_path)
    columns, panel, _ = drawn(tmp_path / "a.png")
    factor = panel.tile[0] // SIZE
    highest = float(samples[1].maps["a"][0, SIZE // 2 - 1])  # what lies outside is higher, and does not count
    expected = coloured(samples[1].maps["a"].numpy() / highest, samples[1].foreground.numpy())
    assert np.array_equal(columns[3][1][SIZE // 2 * factor :: factor, ::factor], expected[SIZE // 2 :])
    assert panel.labels == [(0.0, "0"), (1.0, f"{highest:.2g}")]
    assert (panel.threshold, panel.decided_by) == (None, "")
    assert drawn(tmp_path / "overview.png")[1].labels == [(0.0, "lowest"), (1.0, "highest")]


def test_nothing_is_drawn_without_samples(tmp_path):
    draw_panels([], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_models_picture_shows_its_reconstructions_and_samples_of_its_prior(tmp_path):
    model, batch, state = trained(), images(2), torch.get_rng_state()
    mask = torch.zeros(32, 32, dtype=torch.bool)
    made = model_pictures(model, batch, 2)
    pairs = zip(batch, made["reconstruction"], strict=True)
    draw_model([Sample("one", image, mask, ~mask, decoded, {}) for image, decoded in pairs], model, tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    columns, panel, _ = drawn(tmp_path / "model.png")
    factor = panel.tile[0] // 32
    for column, shown in zip(columns, (batch, *made.values()), strict=True):
        for tile, one in zip(column, shown, strict=True):
            expected = (one.mean(0).clamp(0, 1) * 255).byte().numpy()
            assert np.array_equal(tile[..., 0], expected.repeat(factor, 0).repeat(factor, 1))
    draw_model([], model, tmp_path / "none")
    assert not (tmp_path / "none").exists()
