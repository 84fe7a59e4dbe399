import pytest
import torch

from mesascope.analyses.spectral.exact_learners import ExactLearners
from mesascope.models import GradientDescent, GradientDescentPlusPlus, Newton, Ridge
from mesascope.probes import Spectrum

from ..conftest import WIDE


def test_exact_learners_predict_as_the_learners_do():
    prompts = WIDE.sample(50, seed=0, dtype=torch.float64)
    exact = ExactLearners(Spectrum.of(prompts, [8])[0])
    for learner in (GradientDescent(3, 0.2), Newton(4, "twice_frobenius"), Ridge(0.3)):
        torch.testing.assert_close(exact.predict(learner), learner.predict(prompts)[:, 8])
    assert all(preds.isfinite().all() for preds in exact.preds)


@pytest.mark.parametrize("learner", [GradientDescent(2, 0.1), Newton(3), Ridge(0.3)], ids=repr)
@pytest.mark.parametrize("drawn", [False, True])
def test_the_nearest_of_its_family_is_a_learner_itself(learner, drawn):
    prompts = WIDE.sample(200, seed=0, dtype=torch.float64)
    found = ExactLearners(Spectrum.of(prompts, [8])[0]).rivals(learner.predict(prompts)[:, 8], "points", drawn=drawn)
    assert list(found) == ["GD", "Newton", "ridge"]
    assert max(found, key=lambda family: found[family].explained) == learner.family
    assert found[learner.family].explained == pytest.approx(1, abs=1e-5)
    assert all(bool(rival.g) == drawn for rival in found.values())


def test_further_learners_are_rivals_too():
    prompts, learner = WIDE.sample(200, seed=0, dtype=torch.float64), GradientDescentPlusPlus((0.1, 0.3), (0.05, 0.0))
    exact = ExactLearners(Spectrum.of(prompts, [8])[0], [learner])
    found = exact.rivals(learner.predict(prompts)[:, 8], "points")[learner.family]
    assert found.nearest == learner.label and found.explained == pytest.approx(1)
