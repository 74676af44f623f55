"""Every file of JSON that is damaged, or is something else, is a ResultError that names it in a line."""

import re

import pytest

from leaderboard.json_file import ResultError, parse_document
from leaderboard.record import RunResult, read_result, write_result
from leaderboard.results.collect import Sweep, collect
from leaderboard.verdicts.check import Baseline
from tests.helpers.hostile.bad_json import BAD_JSON, WRONG_JSON


@pytest.mark.parametrize("content", [*BAD_JSON.values(), *WRONG_JSON.values()], ids=[*BAD_JSON, *WRONG_JSON])
def test_damage_is_named_in_a_line(content, tmp_path):
    for kind in (RunResult, Sweep, Baseline):
        with pytest.raises(ResultError) as refused:
            parse_document(content, kind, tmp_path / "a.json", "Remedy.")
        assert str(refused.value).startswith(f"{tmp_path / 'a.json'}: ")
        assert len(str(refused.value).splitlines()) == 1
        str(refused.value).encode()


@pytest.mark.parametrize("deep", [900, 980, 1000, 5000])
def test_a_result_that_is_nested_deeply_does_not_hide_the_others(deep, tmp_path, make_result):
    for seed in (0, 1):
        write_result(make_result(seed), tmp_path / str(seed) / "result.json")
    path = tmp_path / "1" / "result.json"
    path.write_text(path.read_text().replace('"latent": 16', '"latent": ' + "[" * deep + "]" * deep))
    found = collect(tmp_path)
    assert found.results[0].seed == 0
    assert len(found.results) + len(found.damaged) == 2
    assert all(str(path) in message and "nested too deeply" in message for message in found.damaged)


def test_a_number_that_no_float_holds_is_placed_as_far_as_it_can_be(tmp_path, make_result):
    path = tmp_path / "result.json"
    write_result(make_result(0), path)
    text, changed = re.subn(r'"low": [\d.]+', '"low": 1e999', path.read_text(), count=1)
    assert changed
    path.write_text(text)
    with pytest.raises(
        ResultError, match=r"result\.json: not a valid RunResult \(predictors\..*: Number out of range\)"
    ):
        read_result(path)
