"""What a user's own module does when it is imported is told with the key that names it."""

import sys

import pytest

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.base.imports import load


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def net(:", "broken_one cannot be imported, SyntaxError: "),
        ("1 / 0", "broken_one cannot be imported, ZeroDivisionError: division by zero; mend it"),
        ("import nothing_such", "No module named 'nothing_such'; expected package.module.Name"),
        ("", "module 'broken_one' has no attribute 'net'; expected package.module.Name"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_key(tmp_path, monkeypatch, code, said):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_one", raising=False)
    (tmp_path / "broken_one.py").write_text(code)
    with pytest.raises(ConfigError, match=r"^model\.network=broken_one\.net: ") as caught:
        load("model.network", "broken_one.net")
    assert said in str(caught.value)
