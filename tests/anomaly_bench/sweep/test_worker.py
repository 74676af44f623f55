"""The line on a run that is done."""

from anomaly_bench.sweep.worker import summary


def test_the_line_says_that_a_best_epoch_was_the_last(make_result):
    durations = {"provenance": {"durations": {"fit": 4.0, "localize": 2.0}}}
    last, before, unknown = (
        summary(make_result(training=training, **durations))
        for training in ({"epochs": 30, "best_epoch": 30}, {"epochs": 30, "best_epoch": 20}, {"epochs": 30})
    )
    assert last == f"{before}; best epoch 30 = last: train longer (trainer.max_epochs)"
    assert unknown == before == "epochs 30 in 4 s, localized in 2 s; pixel AUROC 0.900 (grad_kl) to 0.900 (grad_kl)"
