"""Projection and restoration: the papers' updates, written out for one image, and what the guards add to them."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from small_vae import blobs, evidence_of, images, maps, trained
from torch import nn

from anomaly_bench.models import VAE, BetaVAE
from anomaly_bench.predictors import Projection, Reconstruction, Restoration
from anomaly_bench.predictors.evidence import Evidence, frozen
from anomaly_bench.predictors.filters import total_variation
from anomaly_bench.predictors.rules.projection import Energy, end_of, path, spread, stop_level
from anomaly_bench.predictors.rules.restoration import energy_gradient, restore


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def units(image, sigma=0.1):
    """The standard deviation of p(x|z) of each image."""
    return image.new_full((len(image),), sigma)


def literal_projection(model, image, iterations, step, l1, level, start="image", masked=True, constant=False):
    """The update of Dehaene et al. 2020 on one image, at a sigma of 0.1, written out, without any guard."""
    x = image.clone() if start == "image" else model.decode(model.encode(image)[0]).detach()
    for _ in range(iterations):
        leaf = x.clone().requires_grad_(True)
        x_hat = model.decode(model.encode(leaf)[0])
        used = x_hat.detach() if constant else x_hat
        rec = ((leaf - used) ** 2).sum() / (2 * 0.1**2) + leaf.numel() * math.log(0.1 * math.sqrt(2 * math.pi))
        if rec.item() <= level:
            break
        energy = rec + l1 * (leaf - image).abs().sum() / 0.1
        (gradient,) = torch.autograd.grad(energy, leaf)
        x = x - step * gradient * ((x - x_hat.detach()) ** 2 if masked else 0.1**2)
    return x.detach()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l1": 0.1},
        {"start": "reconstruction"},
        {"masked": False, "step": 1e-2},
        {"constant": True},
        {"start": "reconstruction", "masked": False, "step": 1e-2},
    ],
    ids=str,
)
def test_projection_is_the_papers_update_where_no_step_is_taken_back(options):
    model, broken = trained(), blobs(images(4), 0.4)
    chosen = {"step": 0.02, "l1": 0.05, "start": "image", "masked": True, "constant": False} | options
    predictor = Projection(smooth=0.0, iterations=15, stop=0.5, tolerance=0, adaptive=False, **chosen)
    batched = maps(model, broken, predictor)
    with frozen(model):
        level = stop_level(model, 0.5)
        literal = torch.cat([literal_projection(model, x[None], 15, level=level, **chosen) for x in broken])
    expected = (broken - literal).abs().mean(dim=1, keepdim=True)
    assert expected.max() > 0.005
    assert torch.allclose(batched, expected, atol=1e-4)


def test_the_literal_update_stops_some_images_early_and_takes_all_steps_of_others():
    model, mixed = trained(), torch.cat([blobs(images(3), 0.4), images(3)])
    with frozen(model):
        unstopped = torch.cat([literal_projection(model, x[None], 6, 0.02, 0.05, -math.inf) for x in mixed])
        level = model.terms(unstopped, sample=False)[0].median().item()
        batched = end_of(path(Energy(model, 0.05), mixed, mixed, units(mixed), 6, 0.02, level=level)).image
        literal = torch.cat([literal_projection(model, x[None], 6, 0.02, 0.05, level) for x in mixed])
    assert torch.allclose(batched, literal, atol=1e-5)
    assert {(one - other).abs().max().item() > 1e-3 for one, other in zip(batched, unstopped, strict=True)} == {
        True,
        False,
    }


@pytest.mark.parametrize("error", ["l1", "l2", "ssim"])
def test_the_map_is_the_chosen_error_between_the_image_and_its_projection(error):
    model, broken = trained(), blobs(images(2))
    with frozen(model):
        projected = end_of(path(Energy(model, 0.05), broken, broken, units(broken), 5, 0.02)).image
    expected = Reconstruction(smooth=0.0, error=error).difference(broken, projected)
    assert torch.equal(
        maps(
            model,
            broken,
            Projection(smooth=0.0, iterations=5, step=0.02, l1=0.05, tolerance=0, adaptive=False, error=error),
        ),
        expected,
    )


@pytest.mark.parametrize("step", [0.01, 0.5, 50.0])
@pytest.mark.parametrize("options", [{}, {"masked": False}, {"constant": True}], ids=str)
def test_projection_never_raises_the_energy_and_never_diverges(step, options):
    model, broken = trained(), blobs(images(6), 2.0)
    with frozen(model):
        energy = Energy(model, 0.05, **options)
        energies = [
            energy(end_of(path(energy, broken, broken, units(broken), n, step)).image, broken, units(broken)).energy
            for n in (0, 1, 2, 4, 8, 16)
        ]
    assert all(torch.isfinite(value).all() for value in energies)
    for earlier, later in itertools.pairwise(energies):
        assert (later <= earlier + 1e-2).all()
    assert step > 1 or (energies[-1] < energies[0] - 10).all()


def test_an_adaptive_step_is_the_change_of_the_image_over_that_of_its_update_ten_times_the_last_at_most():
    """x̂ = 0.5 and sigma² = 0.5: the update is u = e³ / sigma², and each image has its own step."""
    model, image = flat_model(), torch.rand(3, 1, 8, 8, dtype=torch.float64) + 0.1
    unit = units(image, math.sqrt(0.5))
    with frozen(model):
        states = path(Energy(model, 0.0), image, image, unit, 6, 0.01, adaptive=True)
        found = [state.image.clone() for state in states]
    for at in range(3):
        error, step, steps = image[at] - 0.5, 0.01, []
        for state in found[1:]:
            moved = error - step * error**3 / 0.5
            change, turn = moved - error, (moved**3 - error**3) / 0.5
            error, step = moved, min(float((change**2).sum() / (change * turn).sum()), 10 * step)
            steps.append(step)
            torch.testing.assert_close(state[at], 0.5 + error)
        assert steps[0] == pytest.approx(0.1)
        assert steps[-1] != pytest.approx(steps[-2])


def test_ten_adaptive_iterations_lower_the_energy_by_as_much_as_thirty_plain_ones():
    model, broken = trained(), blobs(images(4))
    with frozen(model):
        energy, unit = Energy(model, 1.0), units(broken)
        plain = [state.energy.clone() for state in path(energy, broken, broken, unit, 30, 0.001)]
        adaptive = [state.energy.clone() for state in path(energy, broken, broken, unit, 10, 0.001, adaptive=True)]
    assert (adaptive[10] < plain[30]).all()
    assert (plain[10] > plain[30]).all()
    assert all((later <= earlier).all() for earlier, later in itertools.pairwise(adaptive))


def test_a_small_step_lowers_the_energy_every_time():
    model, broken = trained(), blobs(images(6))
    with frozen(model):
        energy = Energy(model, 0.05)
        energies = [state.energy.clone() for state in path(energy, broken, broken, units(broken), 11, 2e-3)]
        unguarded = literal_projection(model, broken[:1], 11, 2e-3, 0.05, -math.inf)
        assert energy(unguarded, broken[:1], units(broken[:1])).energy.item() == pytest.approx(
            energies[-1][0].item(), abs=0.1
        )
    assert all((later < earlier).all() for earlier, later in itertools.pairwise(energies))


def test_without_the_guard_a_large_step_diverges():
    model, broken = trained(), blobs(images(1), 2.0)
    with frozen(model):
        assert not literal_projection(model, broken, 30, 50.0, 0.05, -math.inf).isfinite().all()


def test_an_image_as_good_as_normal_ones_is_not_moved():
    model, normal = trained(), images(8)
    with frozen(model):
        rec, _ = model.terms(normal, sample=False)
        level = rec.median().item()
        moved = (
            end_of(path(Energy(model, 0.05), normal, normal, units(normal), 10, 0.5, level=level)).image - normal
        ).abs().amax((1, 2, 3)) > 0
    assert torch.equal(moved, rec > level)


def test_images_that_have_stopped_leave_the_batch():
    model, mixed = trained(), torch.cat([images(5), blobs(images(2), 2.0)])
    sizes = []
    handle = model.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    try:
        with frozen(model):
            end_of(path(Energy(model, 0.05), mixed, mixed, units(mixed), 6, 1e-4, level=stop_level(model, 1.0) + 50))
    finally:
        handle.remove()
    assert sizes[0] == 7
    assert sizes[1:] == [2] * 6


def test_treating_the_reconstruction_as_constant_needs_no_backward_pass_through_the_networks():
    model = trained()
    with frozen(model):
        point = Energy(model, 0.0, constant=True)(blobs(images(2)), images(2), units(images(2)))
        evidence = evidence_of(model, point.image)
        assert torch.allclose(point.gradient, (point.image - evidence.reconstruction) / 0.1**2, atol=1e-3)


def test_an_image_with_nan_gets_a_nan_map_and_not_a_normal_one():
    model, broken = trained(), images(3)
    broken[1, 0, 5, 5] = float("nan")
    with frozen(model):
        projected = end_of(path(Energy(model, 0.05), broken, broken, units(broken), 5, 0.1)).image
        restored = restore(model, broken, torch.ones(3, 1, 32, 32, dtype=torch.bool), units(broken), 5, 0.005, 2.2)
    assert projected.isnan().flatten(1).all(1).tolist() == [False, True, False]
    assert restored.isnan().flatten(1).any(1).tolist() == [False, True, False]


def test_the_stop_level_is_a_percentile_of_normal_training_images():
    model = trained()
    assert stop_level(model, 0.0) < stop_level(model, 0.5) < stop_level(model, 1.0)
    with pytest.raises(ValueError, match="rec_levels is not set"):
        stop_level(BetaVAE(model.shape, latent=2, channels=(4,)), 0.5)


def test_an_image_leaves_once_three_steps_lower_its_energy_by_less_than_a_share_of_what_all_have():
    model, mixed = trained(), torch.cat([images(3), blobs(images(3))])
    with frozen(model):
        energy, unit = Energy(model, 0.1), units(mixed)
        free = torch.stack([state.energy.clone() for state in path(energy, mixed, mixed, unit, 40, 0.05)])
        states = [
            (state.energy.clone(), int(state.going.sum()))
            for state in path(energy, mixed, mixed, unit, 40, 0.05, tolerance=0.02)
        ]
    lowered, total = -free.diff(dim=0), free[0] - free[1:]
    small = (lowered < 0.02 * total).int()
    ends = (small[2:] * small[1:-1] * small[:-2]).argmax(0) + 3
    assert len(set(ends.tolist())) > 1
    assert len(states) == ends.max() + 1
    assert [going for _, going in states] == [6] + [int((ends > number).sum()) for number in range(1, len(states))]
    for at, end in enumerate(ends):
        assert states[-1][0][at].item() == pytest.approx(free[end, at].item(), abs=0.05)


def test_which_images_have_converged_is_said_of_the_same_steps():
    model, mixed = trained(), torch.cat([images(3), blobs(images(3))])
    row = Projection(iterations=5, step=0.05, l1=0.1, tolerance=0.1)
    with frozen(model):
        evidence = Evidence(model, mixed, torch.ones(6, 1, 32, 32, dtype=torch.bool))
        row(evidence)
        shared = set(evidence._memo)
        said = row.converged(evidence)
        *_, last = path(Energy(model, 0.1), mixed, mixed, spread(evidence), 5, 0.05, 0.1, adaptive=True)
        assert set(evidence._memo) == shared
        assert replace(row, noise_samples=2).converged(evidence) is None
    assert said.tolist() == (~last.going).tolist()
    assert set(said.tolist()) == {True, False}


@pytest.mark.parametrize(("masked", "least"), [(True, 0.002), (False, 0.02)])
def test_from_the_reconstruction_it_goes_on_to_another_map(masked, least):
    model, broken = trained(), blobs(images(4))
    moved = maps(
        model, broken, Projection(smooth=0.0, start="reconstruction", masked=masked, iterations=20, step=0.1, l1=0.5)
    )
    assert (moved - maps(model, broken, Reconstruction(smooth=0.0))).abs().mean() > least


class Linear(nn.Module):
    """An encoder of one latent: the mean of an image's left half in some unit."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit

    def forward(self, image):
        mean = image[..., :4].mean(dim=(1, 2, 3)).view(-1, 1) / self.unit
        return mean, torch.zeros_like(mean)


class Spread(nn.Module):
    """A decoder of a constant image of the latent's value in some unit, with log scales on demand."""

    def __init__(self, unit, log_sigma=None):
        super().__init__()
        self.unit, self.log_sigma = unit, log_sigma

    def forward(self, latent):
        flat = self.unit * latent.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
        return flat if self.log_sigma is None else torch.cat([flat, self.log_sigma.expand_as(flat)], dim=1)


PREDICTORS = [
    Projection(smooth=0.0, step=0.1),
    Projection(smooth=0.0, step=0.1, masked=False),
    Restoration(smooth=0.0, iterations=50),
]


@pytest.mark.parametrize("variance", ["fixed", "pixel"])
@pytest.mark.parametrize("predictor", PREDICTORS, ids=["masked", "unmasked", "restoration"])
def test_images_and_sigma_in_another_unit_go_the_same_way(predictor, variance):
    """A linear model whose images, sigma and reconstructions are all a number of times as large."""
    image, found = torch.rand(3, 1, 8, 8, dtype=torch.float64), []
    image[..., 2:4, 2:4] += 2
    for factor in (1.0, 100.0):
        model = VAE((1, 8, 8), latent=1, channels=(4,), sigma=0.3 * factor, variance=variance)
        scales = torch.linspace(0, 1, 8, dtype=torch.float64) + math.log(0.3 * factor)
        raw = (scales + 6).expm1().log() - math.log(0.3 * factor) - 6  # what softplus makes the scales of
        model.encoder, model.decoder = Linear(factor), Spread(factor, raw if variance == "pixel" else None)
        found.append(maps(model.double(), factor * image, predictor) / factor)
    assert found[0].max() > 0.05
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_the_unit_is_the_mean_standard_deviation_of_an_image():
    model = VAE((1, 8, 8), latent=2, channels=(4,), likelihood="bernoulli")
    model.encoder, model.decoder = Nothing(), Flat()
    with frozen(model):
        found = spread(evidence_of(model, torch.rand(3, 1, 8, 8)))
    p = 1 / (1 + math.exp(-0.5))
    torch.testing.assert_close(found, torch.full((3,), math.sqrt(p * (1 - p))))
    assert spread(evidence_of(trained(), images(2))).tolist() == pytest.approx([0.1, 0.1])


class Nothing(nn.Module):
    """An encoder whose posterior is the prior, whatever it sees."""

    def forward(self, image):
        zeros = image.new_zeros(len(image), 2)
        return zeros, zeros


class Flat(nn.Module):
    """A decoder of one constant image."""

    def forward(self, latent):
        return latent.new_full((len(latent), 1, 8, 8), 0.5)


def flat_model():
    model = VAE((1, 8, 8), latent=2, channels=(4,), sigma=math.sqrt(0.5))
    model.encoder, model.decoder = Nothing(), Flat()
    return model.double()


def test_an_image_without_a_finite_energy_gets_a_nan_map():
    model, image = flat_model(), torch.tensor([1.0, 1e200], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    everything = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    with frozen(model):
        projected = end_of(path(Energy(model, 0.05), image, image, units(image), 5, 0.1)).image
        restored = restore(model, image, everything, units(image, 1.0), 5, 0.005, 2.2)
    for found in (projected, restored):
        assert found.isnan().flatten(1).all(1).tolist() == [False, True]


@pytest.mark.slow
def test_restoration_of_a_flat_model_minimises_squares_plus_total_variation():
    """E = ‖x_t − 0.5‖² + tv · TV(x_t − x). A square of 16 pixels, 1 above the rest, whose border has length 16, loses a, and
    the other 48 pixels lose b: 2 · 16 (1 − a) = 16 tv and 2 · 48 b = 16 tv, or a = b where these would cross."""
    model, image = flat_model(), torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    image[..., 2:6, 2:6] = 1.5
    everything = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    with frozen(model):
        for tv, a, b in ((0.0, 1.0, 0.0), (0.5, 0.75, 1 / 12), (3.0, 0.25, 0.25)):
            lost = image - restore(model, image, everything, units(image, 1.0), 4000, 0.02, tv)
            assert lost[..., 3:5, 3:5].mean().item() == pytest.approx(a, abs=0.03), tv
            assert lost[..., 0, 0].item() == pytest.approx(b, abs=0.03), tv


def test_restoration_is_gradient_descent_on_the_papers_energy_in_the_foreground_with_the_gradient_clipped():
    model, image = flat_model(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    image[..., 3, 3] = 60.0
    foreground = torch.rand(1, 1, 8, 8) > 0.3
    foreground[..., 3, 3] = True
    with frozen(model):
        restored = restore(model, image, foreground, units(image, 1.0), 5, 1e-3, 0.0)
    literal = image.clone()
    for step in (1e-3, 4e-4, 4e-4, 4e-4, 4e-4):
        literal = literal - step * (2 * (literal - 0.5)).clamp(-50, 50) * foreground
    assert torch.allclose(restored, literal)
    assert (image - restored)[..., 3, 3].item() == pytest.approx(50 * 2.6e-3)


def test_restoration_never_raises_its_energy_whatever_the_step():
    model, broken = trained(), blobs(images(4), 1.0)
    everything = torch.ones(4, 1, 32, 32, dtype=torch.bool)
    with frozen(model):
        energies = [
            energy_gradient(
                model, restore(model, broken, everything, units(broken), n, 1.0, 2.2), broken, units(broken), 2.2
            )[0]
            for n in (0, 15, 30)
        ]
    assert (energies[1] < energies[0]).all()
    assert (energies[2] <= energies[1]).all()


def test_restoration_moves_the_foreground_alone():
    model, broken = trained(), blobs(images(2))
    foreground = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    foreground[..., 10:20, 10:20] = True
    with frozen(model):
        score = Restoration(smooth=0.0, iterations=10)(Evidence(model, broken, foreground))
    assert (score[~foreground] == 0).all()
    assert (score[foreground] > 0).all()


def test_total_variation_is_the_sum_of_the_steps_between_neighbours():
    image = torch.tensor([[[[0.0, 3.0], [-1.0, 2.0]]]])
    assert total_variation(image, 1e-6).item() == pytest.approx(3 + 3 + 1 + 1, abs=1e-4)
    volume = torch.stack([image, image, 2 * image], dim=2)  # between slices there are no steps
    assert total_variation(volume, 1e-6).item() == pytest.approx(8 + 8 + 16, abs=1e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_the_default_weight_of_l1_lets_images_move_under_either_likelihood(likelihood):
    torch.manual_seed(0)
    model = VAE((1, 16, 16), latent=4, channels=(4, 8), likelihood=likelihood, sigma=0.1, variance="fixed")
    image = torch.rand(2, 1, 16, 16)
    with frozen(model):
        evidence = Evidence(model, image, torch.ones(2, 1, 16, 16, dtype=torch.bool))
        assert (Projection(smooth=0.0)(evidence) > 0).float().mean() > 0.5
