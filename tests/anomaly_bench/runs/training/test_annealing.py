import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from anomaly_bench.config.schema import TrainerConfig
from anomaly_bench.runs.training.annealing import Annealing
from anomaly_bench.runs.training.averaging import Averaging
from anomaly_bench.runs.training.checkpoints import Saver


class Told:
    """A training of a weight that is the number of its epoch, whose ELBOs are told; one step an epoch."""

    def __init__(self, tmp_path, elbos, share=lambda epoch: 1.0, **config):
        self.share = share
        self.config = TrainerConfig(
            max_epochs=len(elbos), **{"patience": 2, "patience_steps": 0, "rise": 0.0, **config}
        )
        self.saver = Saver(tmp_path, "id", None, self.config)
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.model.scheduled = lambda: self.share(self.trainer.current_epoch)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1.0)
        self.annealing = Annealing(self.config, self.saver, Averaging(0.0))
        self.rates, self.weights = [], []
        for epoch, elbo in enumerate(elbos):
            self.epoch(epoch, elbo)
            if self.trainer.should_stop:
                break

    def epoch(self, epoch, elbo):
        self.model.weight.data.fill_(epoch + 1)
        self.trainer = SimpleNamespace(
            current_epoch=epoch, max_epochs=self.config.max_epochs, num_training_batches=1, optimizers=[self.optimizer],
            callback_metrics={"val/elbo": elbo}, state=SimpleNamespace(fn=TrainerFn.FITTING), sanity_checking=False,
            should_stop=False, lr_scheduler_configs=[],
        )  # fmt: skip
        self.saver.on_validation_end(self.trainer, self.model)
        self.annealing.on_train_epoch_end(self.trainer, self.model)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.weights.append(float(self.model.weight))


def test_where_the_elbo_is_flat_the_rate_is_lowered_and_at_last_training_ends(tmp_path):
    told = Told(tmp_path, [1, 2, 3, 2.5, 2.5, 4, 4, 4, 4, 4, *[9] * 40], lr_factor=0.1, lr_drops=2)
    assert told.rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    assert told.weights[4] == 3  # goes on from the best
    assert (told.saver.best_epoch, told.saver.score, len(told.rates)) == (6, 4, 10)


def test_a_rise_too_small_is_none(tmp_path):
    told = Told(tmp_path, [0, 100, 100.9, 102, *[0] * 30], rise=0.01, lr_drops=0)
    assert told.saver.best_epoch == 4
    assert told.saver.score == 102


def test_a_few_steps_are_no_patience(tmp_path):
    assert len(Told(tmp_path, [1, *[0] * 30], lr_drops=0).rates) == 3
    assert len(Told(tmp_path, [1, *[0] * 30], lr_drops=0, patience_steps=7).rates) == 8


def test_while_a_schedule_changes_the_loss_nothing_is_flat(tmp_path):
    told = Told(tmp_path, [1, *[0] * 30], lr_drops=0, share=lambda epoch: min(1, epoch / 6))
    assert len(told.rates) == 7 + 2  # the loss is what it will be from the seventh epoch on


def test_a_training_that_is_cut_short_is_annealed_in_time(tmp_path):
    rates = Told(tmp_path, list(range(20)), lr_factor=0.1, lr_drops=2).rates
    assert rates == pytest.approx([1.0] * 13 + [0.1] * 3 + [0.01] * 4)


@pytest.mark.parametrize(("epochs", "rates"), [(1, [1]), (2, [0.1, 0.1]), (5, [1, 1, 0.1, 0.01, 0.01])])
def test_the_drops_of_few_epochs_are_apart_and_none_is_after_the_last(tmp_path, epochs, rates):
    assert Told(tmp_path, list(range(epochs)), lr_factor=0.1, lr_drops=2).rates == pytest.approx(rates)


def test_an_elbo_that_is_no_number_goes_back_to_the_best_at_once(tmp_path):
    with pytest.warns(UserWarning, match="epoch 3: the ELBO is nan; going on from epoch 2"):
        told = Told(tmp_path, [1, 2, math.nan, 3, *[0] * 20], lr_factor=0.1)
    assert told.rates[:3] == pytest.approx([1, 1, 0.1])
    assert told.weights[2] == 2
    assert told.saver.best_epoch == 4


def test_a_training_without_any_elbo_ends(tmp_path):
    told = Told(tmp_path, [math.nan] * 5)
    assert len(told.rates) == 1
    assert told.saver.best is None


def test_what_it_knows_outlives_an_interruption(tmp_path):
    told = Told(tmp_path, [1, 0, 0, 0, 0, 0], lr_drops=2)
    again = Annealing(told.config, told.saver, Averaging(0.0))
    again.load_state_dict(told.annealing.state_dict())
    assert (again.drops, again.since, again.share) == (2, 5, 1.0)
