from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from anomaly_bench.runs.training.averaging import Averaging


def trained(decay, weights, averaging=None):
    """A model of one weight, which is set to these numbers step by step."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.device = torch.device("cpu")
    model.register_buffer("counted", torch.tensor(3))
    averaging = Averaging(decay) if averaging is None else averaging
    model.weight.data.fill_(weights[0])
    averaging.on_train_start(None, model)
    for weight in weights[1:]:
        model.weight.data.fill_(weight)
        averaging.on_train_batch_end(None, model, None, None, 0)
    return model, averaging


def validated(model, averaging, fn=TrainerFn.FITTING):
    averaging.on_validation_epoch_start(SimpleNamespace(state=SimpleNamespace(fn=fn)), model)
    seen = float(model.weight.detach())
    averaging.on_train_epoch_end(None, model)
    return seen


def test_the_mean_is_validated_and_the_weights_are_trained_on():
    model, averaging = trained(0.5, [0.0, 1.0, 2.0, 4.0])
    first = 0.9 * 1.0  # d = 1/10
    second = 2 / 11 * first + 9 / 11 * 2.0
    third = 3 / 12 * second + 9 / 12 * 4.0
    assert validated(model, averaging) == pytest.approx(third)
    assert float(model.weight) == 4.0
    assert int(model.counted) == 3


def test_the_decay_is_reached():
    steps = [0.0] * 100 + [1.0]
    assert validated(*trained(0.5, steps)) == pytest.approx(0.5)
    assert validated(*trained(0.9, steps)) == pytest.approx(0.1)


def test_no_decay_is_no_mean():
    model, averaging = trained(0.0, [0.0, 1.0, 5.0])
    assert validated(model, averaging) == 5.0
    assert averaging.mean == []


def test_it_goes_on_from_its_state_and_begins_anew_where_it_is_told_to():
    weights = [0.0, 1.0, 2.0, 4.0, 3.0]
    _, averaging = trained(0.9, weights[:3])
    going_on = Averaging(0.9)
    going_on.load_state_dict(averaging.state_dict())
    model, going_on = trained(0.9, weights[2:], going_on)
    assert validated(model, going_on) == validated(*trained(0.9, weights))
    going_on.restart(model)
    assert validated(model, going_on) == 3.0


def test_a_validation_outside_a_training_sees_the_weights():
    model, averaging = trained(0.9, [0.0, 1.0])
    assert validated(model, averaging, TrainerFn.VALIDATING) == 1.0
