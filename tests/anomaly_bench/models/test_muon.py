import copy

import pytest
import torch

from anomaly_bench.models.muon import Muon, layer_weights, orthogonal


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (7, 7), (1, 9)])
def test_a_matrix_becomes_one_whose_singular_values_are_about_one(shape):
    left, values, right = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    matrix = left @ torch.diag(values.clamp(min=0.1)) @ right
    found = torch.linalg.svdvals(orthogonal([matrix])[0])
    assert found.min() > 0.6
    assert found.max() < 1.3
    assert torch.allclose(
        orthogonal([1000 * matrix])[0], orthogonal([matrix])[0], atol=1e-4
    )  # the size of a gradient is nothing
    step = left.T @ orthogonal([matrix])[0] @ right.T  # U and V stay
    assert torch.allclose(step, torch.diag(step.diag()), atol=1e-4)


def test_matrices_at_once_are_as_one_by_one_and_as_the_plain_iteration():
    generator = torch.Generator().manual_seed(1)
    matrices = [torch.randn(shape, generator=generator) for shape in ((4, 9), (9, 4), (4, 4), (6, 20))]
    for together, matrix in zip(orthogonal(matrices), matrices, strict=True):
        x = matrix / matrix.norm()
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
        assert torch.allclose(orthogonal([matrix])[0], together, atol=1e-5)
        assert torch.allclose(x, together, atol=1e-3)


def test_no_gradient_is_no_step():
    assert torch.equal(orthogonal([torch.zeros(3, 5)])[0], torch.zeros(3, 5))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = torch.nn.Conv2d(2, 4, 3), torch.nn.Linear(4, 3)
        self.grouped, self.norm = torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.LayerNorm(3)

    def forward(self, image):
        return self.norm(self.linear(self.grouped(self.conv(image)).mean((2, 3))))


def test_weights_of_layers_are_stepped_orthogonally_and_all_others_as_by_adam():
    net, image = Net(), torch.randn(5, 2, 9, 9, generator=torch.Generator().manual_seed(2))
    assert {tuple(weight.shape) for weight in layer_weights(net)} == {(4, 2, 3, 3), (3, 4)}
    plain = copy.deepcopy(net)
    optimizer = Muon(net, lr=0.01, weight_decay=2.0)
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    before = copy.deepcopy(net.state_dict())
    for one in (net, plain):
        (one(image) * torch.arange(3)).square().sum().backward()
    gradient = net.conv.weight.grad.clone()
    optimizer.step()
    adam.step()
    for name in ("conv.bias", "grouped.weight", "norm.weight", "linear.bias"):
        assert torch.allclose(net.state_dict()[name], plain.state_dict()[name], atol=1e-7)
    rate = 0.01 * 0.2 * 18**0.5
    step = rate * orthogonal([gradient.flatten(1)])[0].view(4, 2, 3, 3)
    assert torch.allclose(net.conv.weight, before["conv.weight"] * (1 - rate * 2.0) - step, atol=1e-6)
    assert torch.equal(net.conv.weight.grad, gradient)


def test_a_training_goes_on_from_the_state_of_the_optimizer():
    image, nets = torch.randn(5, 2, 9, 9), [Net(), Net()]
    optimizers = [Muon(net, lr=0.01) for net in nets]

    def step(index, times):
        for _ in range(times):
            optimizers[index].zero_grad()
            loss = optimizers[index].step(lambda: loss_of(nets[index]))
        return loss

    def loss_of(net):
        loss = net(image).square().mul(torch.arange(3)).sum()
        loss.backward()
        return loss.detach()

    assert step(0, 30) < loss_of(Net())
    step(1, 10)
    weights, state = copy.deepcopy(nets[1].state_dict()), copy.deepcopy(optimizers[1].state_dict())
    nets[1] = Net()
    nets[1].load_state_dict(weights)
    optimizers[1] = Muon(nets[1], lr=0.01)
    optimizers[1].load_state_dict(state)
    step(1, 20)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_singular_values_stay_below_the_inverse_of_the_decay():
    layer = torch.nn.Linear(6, 3, bias=False)
    optimizer = Muon(layer, lr=0.1, weight_decay=2.0)
    layer.weight.grad = -torch.eye(3, 6)
    for _ in range(200):
        optimizer.step()
    assert 0.3 < torch.linalg.svdvals(layer.weight.detach()).max() < 0.6
