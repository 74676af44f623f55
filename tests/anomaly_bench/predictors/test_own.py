"""The predictor of CONTRIBUTING.md in a user's own package: what it can do, and what is said when it is wrong."""

import re
import sys

import pytest
import torch
from checkout import ROOT
from small_vae import evidence_of, images, maps, trained

from anomaly_bench.base.errors import ConfigError
from anomaly_bench.config.schema import PredictorsConfig
from anomaly_bench.predictors import Predictor, build_suite, suite_of
from anomaly_bench.predictors.evidence import frozen

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


class Spoils(Predictor):
    """Writes to what its name says, in place."""

    def score(self, evidence):
        part = getattr(evidence, type(self).__name__.lower())
        return part.mul_(0.5).mean(dim=1, keepdim=True)


class Image(Spoils):
    pass


class Error(Spoils):
    pass


class Reconstruction(Spoils):
    pass


class Grad_rec(Spoils):  # noqa: N801 - the quantity's name
    pass


@pytest.mark.parametrize("own", [Image, Error, Reconstruction, Grad_rec])
@pytest.mark.parametrize("first", [True, False])
def test_one_that_changes_what_all_share_is_refused_by_name(own, first):
    rows = {"own": own(), "rec_l1": "rec_l1"} if first else {"rec_l1": "rec_l1", "own": own()}
    model = trained()
    with (
        frozen(model),
        pytest.raises(ConfigError, match=r"predictor own changes evidence\.\w+ in place.*work on a copy"),
    ):
        suite_of(rows).maps(evidence_of(model, images(2)), list(rows))


class Given(Predictor):
    """Gives `given`, whatever the images are."""

    given = None

    def score(self, evidence):
        return self.given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.ones(2, 1, 32, 32, dtype=torch.bool), "Given: expected a map that is a floating tensor, got torch.bool"),
        ([[1.0]], "Given: expected a map that is a floating tensor, got list"),
        (torch.ones(2, 32, 32), r"Given: expected a map \[2, 1, 32, 32\]"),
    ],
)
def test_what_is_no_map_is_told_from_one(given, message, monkeypatch):
    monkeypatch.setattr(Given, "given", given)
    with pytest.raises(ValueError, match=message):
        maps(trained(), images(2), Given())
