import warnings

from anomaly_bench.quiet import quiet


def test_a_warning_while_training_is_its_words_alone_and_an_ordinary_one_after():
    before = warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3)
    with quiet():
        assert warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3) == "warning: words\n"
    assert warnings.formatwarning(UserWarning("words"), UserWarning, "file.py", 3) == before
    assert "file.py:3" in before
