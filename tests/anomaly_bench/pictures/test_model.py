"""Pictures of what a model reconstructs and draws."""

import pytest
import torch

from anomaly_bench.models import AE, VAE
from anomaly_bench.pictures.model import model_pictures

SMALL = {"latent": 5, "channels": (4, 8)}
SHAPE = (1, 16, 16)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cls", [VAE, AE])
def test_pictures_leave_the_model_and_the_random_numbers_alone(cls):
    model = cls(SHAPE, **SMALL)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shown = model_pictures(model, images(), samples=4)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert torch.allclose(shown["reconstruction"], model.decode(model.encode(images())[0]))
    assert ("prior" in shown) == (cls is VAE)
    if cls is VAE:
        assert shown["prior"].shape == (4, *SHAPE)
        assert torch.equal(shown["prior"], model_pictures(model, images(), samples=4)["prior"])
