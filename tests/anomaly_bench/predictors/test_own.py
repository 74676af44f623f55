"""The predictor of CONTRIBUTING.md in a user's own package: what it can do, and what is said when it is wrong."""

import re
import sys

import pytest
import torch
from checkout import ROOT
from small_vae import images, maps, trained

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import PredictorsConfig
from anomaly_bench.predictors import build_suite

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
(OWN,) = re.findall(r"```python\n((?:(?!```).)*class SquaredGradient.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_package", None)


def build(**settings):
    return build_suite(PredictorsConfig(members={"own": settings, "grad": {"use": "gradient"}}))


@pytest.mark.usefixtures("package")
def test_it_is_named_by_its_import_path_and_has_what_all_predictors_have():
    suite = build(use="my_package.SquaredGradient", power=3.0, smooth=1.0, erode=1, noise_samples=2)
    plain = build(use="my_package.SquaredGradient", power=1.0)
    batch = images(2)
    assert suite.single["own"].power == 3.0
    assert maps(trained(), batch, suite.single["own"]).shape == (2, 1, 32, 32)
    assert torch.allclose(
        maps(trained(), batch, plain.single["own"]), maps(trained(), batch, plain.single["grad"]), rtol=1e-5
    )


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use": "my_package.Missing"}, r"members\.own\.use=my_package\.Missing: .*has no attribute 'Missing'"),
        ({"use": "no_package.Mine"}, r"members\.own\.use=no_package\.Mine: No module named .*PYTHONPATH"),
        ({"use": "my_package.dataclass"}, "expected a subclass of anomaly_bench.predictors.Predictor"),
        ({"use": "my_package.SquaredGradient", "pwer": 1.0}, r"members\.own\.pwer: .*did you mean power"),
        ({"use": "my_package.SquaredGradient", "power": "x"}, r"members\.own\.power=x: Input should be a valid number"),
    ],
)
def test_what_is_wrong_with_it_is_said_by_the_key(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)
