import pytest

from data_modules.base.strict_json import loads
from tests.helpers.hostile.bad_json import BAD_JSON


@pytest.mark.parametrize("kind", BAD_JSON)
def test_what_is_no_strict_json_is_a_value_error_in_a_line(kind):
    with pytest.raises(ValueError, match=r"\w") as refused:
        loads(BAD_JSON[kind])
    assert len(str(refused.value).splitlines()) == 1
    str(refused.value).encode()


def test_strict_json_is_what_it_says():
    assert loads('{"a": [1, -2.5e-3, null, true, "ä\\ud83d\\ude00"], "b": {"a": {}}}'.encode()) == {
        "a": [1, -0.0025, None, True, "ä😀"],
        "b": {"a": {}},
    }
