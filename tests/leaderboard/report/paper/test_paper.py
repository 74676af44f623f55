"""The pages for a reader of the paper, on results made by hand: each number in them is recomputed here."""

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from leaderboard.board import build
from leaderboard.record import write_result
from leaderboard.report.paper import answers, page, pictures, settings
from leaderboard.results.collect import Collection, PlannedRun
from leaderboard.results.run_arrays import run_of

MEMBERS = ["rec_l1", "grad_kl"]
GAINS = {"natural0": 0.06, "natural1": 0.04, "medical0": 0.01, "medical1": -0.01}
NOISE = {0: -0.01, 1: 0.0, 2: 0.01}


def results(make_result, betas=(1.0, 4.0), intensity=0.2, **changes):
    """Runs on four datasets: projection gains GAINS over rec_l1 at 0.5, with NOISE of the seeds; beta takes 0.02 of all."""
    found = []
    for name, gain in GAINS.items():
        for beta in betas:
            for seed, noise in NOISE.items():
                level = 0.5 - 0.02 * (beta > 1)
                subjects = [(0.5, level - 0.1), (0.5, level + 0.1)]
                moved = [(0.5, ap + gain + 0.02) for _, ap in subjects]
                predictors = {
                    "rec_l1": {"value": level, "validation": level, "subjects": subjects},
                    "projection": {"value": level + gain + noise, "validation": level + gain, "subjects": moved},
                    "grad_kl": {"value": 0.3, "validation": 0.3, "subjects": subjects},
                    "ensemble_probit": {"value": level + 0.1 + noise, "validation": level, "subjects": moved},
                    "intensity": {
                        "value": intensity if name == "natural0" else 0.9,
                        "validation": 0.2,
                        "subjects": subjects,
                    },
                }
                config = {
                    "seed": seed,
                    "dataset": {"domain": name[:7]},
                    "model": {"beta": beta},
                    "predictors": {"members": {"ensemble_probit": {"members": MEMBERS}}},
                }
                identity = {
                    "dataset": name,
                    "family": name,
                    "setting_id": f"{name}-{beta}",
                    "beta": beta,
                    "config": config,
                }
                found.append(make_result(seed, predictors, **identity, **changes))
    return found


@pytest.fixture(scope="module")
def board(make_result):
    return build(Collection([run_of(result) for result in results(make_result)]))


@pytest.fixture(scope="module")
def text(board):
    return page.page(board, {"effect_projection": "here/effect.png", "cases_natural0": "here/cases.jpg"})


def section(text, title, level="###"):
    return text.partition(f"\n{level} {title}")[2].partition(f"\n{level} ")[0]


def cells(text, name):
    """The cells of the row that a table begins with `name`."""
    (line,) = re.findall(rf"^\| {name} \|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in line.split(" | ")]


def test_the_effect_on_each_dataset_has_its_interval(text):
    part = section(text, "Energy-based projection")
    half = 4.302653 * 0.01 / np.sqrt(3)  # Student's t of three seeds, whose standard deviation is 0.01
    for name, gain in GAINS.items():
        domain, mean, interval, auroc, _, runs = cells(part, name)
        assert (domain, mean, auroc, runs) == (name[:7], f"{gain:.3f}", f"{gain:.3f}", "6")
        low, high = map(float, interval.split(" to "))
        assert (low + high) / 2 == pytest.approx(gain, abs=1e-3)
        assert high - low == pytest.approx(2 * half, rel=0.5)  # the variance over seeds is shared by four datasets
    assert "![gain of projection over rec_l1, by dataset](here/effect.png)" in part


def test_the_answer_comes_first_with_its_size_and_how_many_datasets_agree(text):
    answer = text.partition("## The answer in brief")[2].partition("## The evidence")[0]
    assert (
        "AP by +0.050 on natural and 0.000 on medical datasets (means); it gains on 3 of 4 datasets (2 with" in answer
    )
    assert (
        "The ensemble changes AP by +0.100 (mean) from that of the member; it gains on 4 of 4 datasets (4 with"
        in answer
    )
    assert "An ensemble of predictors beats its best single member, chosen on validation. **Supported.**" in answer
    assert text.index("## The answer in brief") < text.index("## The evidence") < text.index("## Which predictor")


def test_what_single_datasets_say_is_told_even_where_all_of_them_decide_nothing(make_result):
    natural = [run_of(result) for result in results(make_result) if result.dataset == "natural0"]
    said = page.page(build(Collection(natural)), {})
    assert "Projection changes AP by +0.060 on natural datasets (means); it gains on 1 of 1 dataset (1 with" in said
    assert (
        "Better reconstruction is not better localization. **Undecided.** Nothing can be said: no dataset has" in said
    )


def test_what_was_not_confirmed_is_said_and_what_is_supported_is_not_among_it(text):
    rest = text.partition("**What was not confirmed**")[2].partition("*Supported*")[0]
    assert "An ensemble of predictors" not in rest
    assert "Better reconstruction is not better localization. Undecided. Effect – (AP)" in rest
    assert "What would decide it: three seeds of runs with rec_l1 in 5 or more settings" in rest


def first_answers(text):
    return text.partition("## The answer in brief")[2].strip().splitlines()


def test_intensity_leads_where_the_board_finds_the_best_learned_map_worse(text, board):
    row = next(row for row in board.main if (row.dataset, row.predictor) == ("medical0", "ensemble_probit"))
    one = row.versus["ap"]
    assert (one.best, one.verdict) == ("intensity", "worse")
    assert first_answers(text)[0] == (
        "- **On medical0 plain intensity, which needs no model, beats the best learned map, ensemble_probit: AP 0.900 against "
        f"0.600 (difference +0.300, 95 % interval {-one.versus.high:.3f} to {-one.versus.low:.3f}, over seeds alone: these "
        "test images).**"
    )
    assert "On natural0 plain intensity" not in text
    found = cells(section(text, "Beside plain intensity", "##"), "natural0")
    assert found[:3] == ["0.200 ± 0.000", "ensemble_probit", "0.600 ± 0.010"]
    assert found[-1] == "worse"


def test_intensity_above_the_best_learned_map_beats_nothing_while_the_board_is_undecided(make_result):
    board = build(Collection([run_of(result) for result in results(make_result, intensity=0.61)]))
    row = next(row for row in board.main if (row.dataset, row.predictor) == ("natural0", "ensemble_probit"))
    one = row.versus["ap"]
    assert (one.best, one.verdict) == ("intensity", "undecided")
    assert (
        "- On natural0 plain intensity, which needs no model, is higher than the best learned map, ensemble_probit, undecided: "
        f"AP 0.610 against 0.600 (difference +0.010, 95 % interval {-one.versus.high:.3f} to {-one.versus.low:.3f}, over seeds "
        "alone: these test images)."
    ) in first_answers(page.page(board, {}))


def test_beside_a_better_third_row_intensity_and_the_learned_map_are_compared_alone(make_run):
    def board(names):
        levels = {"local_contrast": 0.9, "intensity": 0.6, "rec_l1": 0.5}
        runs = [
            make_run(seed, {name: levels[name] + NOISE[seed] * (name == "rec_l1") for name in names}) for seed in NOISE
        ]
        return build(Collection(runs))

    (three,), (two,) = (answers.baselines(board(names)) for names in (("local_contrast", "intensity", "rec_l1"),
                                                                      ("intensity", "rec_l1")))  # fmt: skip
    assert (three.verdict, three.lead) == (two.verdict, two.lead)
    assert (two.verdict, two.lead.value, two.margin) == ("better", pytest.approx(0.1), 0.01)


def test_the_table_has_the_beta_that_validation_chooses_and_its_best_in_bold(text):
    tables = section(text, "Which predictor", "##").partition("**pixel AUROC**")[0]
    columns = re.findall(r"^\| predictor \|(.*)\|$", tables, re.MULTILINE)[0].split("|")
    at = [name.strip() for name in columns].index("natural0")
    assert cells(tables, "ensemble_probit")[at] == "**0.600 ± 0.010, β 1**"
    assert cells(tables, "projection")[at] == "0.560 ± 0.010, β 1"
    assert cells(tables, "rec_l1")[at] == "0.500 ± 0.000, β 1"


def test_what_is_missing_failed_or_damaged_is_said(board, make_result):
    runs = [run_of(result) for result in results(make_result)]
    plan = [
        PlannedRun("later", "natural0-1.0", "natural0", "vae", 1.0, 9, "f"),
        PlannedRun("never", "other", "unseen", "vae", 1.0, 0, "g"),
    ]
    said = page.page(build(Collection(runs, ["x/result.json: damaged"], plan, {"later": "out of memory"})), {})
    assert (
        "**Not complete**: 2 of the planned runs have no result, 1 failed, and 1 results are damaged; there is none of"
        in said
    )
    assert said.count("unseen") == 1
    assert "- later: out of memory" in said
    assert "**Not complete**" not in page.page(board, {})


def test_best_equals_last_and_the_time_are_said(make_result, tmp_path):
    runs = []
    for at, result in enumerate(results(make_result, training={"epochs": 7, "best_epoch": 7})):
        timed = replace_durations(result, {"fit": 1800.0, "localize": 360.0, "measure": 5.0})
        (tmp_path / str(at)).mkdir()
        write_result(timed, tmp_path / str(at) / "result.json")
        runs.append(run_of(timed, tmp_path / str(at)))
    said = page.page(build(Collection(runs)), {})
    assert "Training took 7 to 7 epochs. In 24 of 24 runs the best epoch is the last." in said
    assert "medical0 beta 1 seed 0, " in said
    assert "and 12 more." in said
    assert cells(section(said, "Was training long enough", "##").partition("Milliseconds")[0], "natural0") == [
        "6",
        "cpu",
        "3.00",
        "0.60",
    ]
    assert "In all 14.4 hours of one run after the other." in said
    assert "torch 2.8; revision not recorded" in said


def replace_durations(result, durations):
    return msgspec.structs.replace(result, provenance=msgspec.structs.replace(result.provenance, durations=durations))


def test_the_same_results_in_any_order_give_the_same_page(board, make_result, text):
    runs = [run_of(result) for result in results(make_result)][::-1]
    again = page.page(
        build(Collection(sorted(runs, key=lambda run: run.run_id))),
        {"effect_projection": "here/effect.png", "cases_natural0": "here/cases.jpg"},
    )
    assert again == text


def test_pictures_of_cases_are_those_that_may_be_shown_and_small(make_result, tmp_path):
    runs = []
    for result in results(make_result):
        folder = tmp_path / result.run_id
        noise = np.random.default_rng(0).integers(0, 255, (400, 3400, 3), dtype=np.uint8)
        (folder / "pictures").mkdir(parents=True)
        Image.fromarray(noise).save(folder / "pictures/overview.png")
        named = replace(run_of(result), dataset="tiny_brain" if result.dataset == "medical0" else result.dataset)
        runs.append(replace(named, folder=folder))
    written = pictures.write_pictures(build(Collection(runs)), tmp_path / "page")
    copies = [path for path in written if path.suffix == ".jpg"]
    assert [path.name for path in copies] == ["cases_tiny_brain.jpg"]
    assert Image.open(copies[0]).size == (1700, 200)
    assert {"effect_projection", "effect_ensemble", "beta_natural0"} <= {path.stem for path in written}


def test_a_page_names_what_it_does_not_show(text):
    cases = section(text, "Best and worst cases", "##")
    assert "![Cases of natural0](here/cases.jpg)" in cases
    assert "None are shown of medical0, medical1, natural1:" in cases


@pytest.fixture
def vae_settings(make_run):
    """AUROC of grad_kl = 0.4 + latent / 100 + pixels / 1000 + width / 50, the same on both seeds."""
    runs = []
    for latent in (4, 16):
        for size in (32, 64):
            for seed in (0, 1):
                value = 0.4 + latent / 100 + size / 1000
                tried = [
                    {"smooth": width, "test": {"auroc": value + width / 50}, "validation": {"auroc": 0.5}}
                    for width in (0.0, 1.0)
                ]
                config = {"seed": seed, "dataset": {"size": [size, size]}, "model": {"latent": latent}}
                choice = {"smooth": 0.0, "smooth_by": "validation", "tried": tried}
                runs.append(
                    make_run(seed, {"grad_kl": {"value": value, "map": choice}}, config=config, setting_id=f"{latent}-{size}",
                             training={"last_active_units": float(latent // 2)})
                )  # fmt: skip
    return runs


def test_settings_are_ranked_by_how_far_they_move_the_kl_gradient(vae_settings):
    found = {one.factor: one for one in settings.shares(settings.points(vae_settings))}
    assert found.keys() == {"latent size", "resolution", "smoothing", "active units"}  # beta does not vary
    assert found["latent size"].span == pytest.approx(0.12)
    assert found["resolution"].levels == pytest.approx({32.0: 0.542, 64.0: 0.574})
    assert found["smoothing"].span == pytest.approx(0.02)
    ranks = spearmanr([4, 4, 16, 16], [0.472, 0.504, 0.592, 0.624]).statistic  # as the seeds agree
    assert found["active units"].rho == found["latent size"].rho == pytest.approx(ranks)
    said = settings.page(build(Collection(vae_settings)))
    assert (
        "latent size decides most, 0.120 from its worst to its best level; then resolution (0.032), then smoothing"
        in said
    )
    assert "Its rank correlation with active units is +0.89. At its best it reaches 0.644, the best `rec_l1` –." in said
    assert "| tiny | 4 | 32 | 1 | 2.0 | 0.472 | 0.492 |" in said
