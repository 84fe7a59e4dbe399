import pytest

from mesascope.analyses.similarity import calibrate
from mesascope.models import GradientDescent, LinearRegression, MesascopeError, Newton
from mesascope.models.learners.base import Sweep

from ..conftest import WIDE
from .conftest import FEW

FU = LinearRegression(n_dims=20, n_points=41)
DESCENT = Sweep(GradientDescent(4096, 0.01, "sum"), tuple(2**j for j in range(13)))
PUBLISHED = {
    "newton": (0.920, 0.691, 0.619, 0.569, 0.539, 0.510),
    "gd": (0.961, 0.918, 0.849, 0.764, 0.682, 0.615, 0.568, 0.540, 0.524, 0.516, 0.511, 0.509, 0.508),
}
"""Methods, section 14: of the zero predictor to Newton after 1, 6, 8, 10, 12, 22 steps, and to GD after 2^0 … 2^12."""


def test_the_zero_predictor_is_as_similar_to_learners_as_published():
    zero, newton = Sweep(GradientDescent(0, 0.01), (0,)), Sweep(Newton(22, "twice_frobenius"), (1, 6, 8, 10, 12, 22))
    (found,) = calibrate(FU, [zero], [newton, DESCENT], n_prompts=3_000, empty_prefix=True)
    assert found.tolist() == pytest.approx([*PUBLISHED["newton"], *PUBLISHED["gd"]], abs=0.005)


@pytest.mark.parametrize("empty_prefix", [False, True])
def test_newtons_best_matching_descent_doubles_its_steps_every_other_step(empty_prefix):
    newton = Sweep(Newton(23), tuple(range(1, 24)))
    found = calibrate(FU, [newton], [DESCENT], n_prompts=500, empty_prefix=empty_prefix)
    exponents = [0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12]
    assert found.argmax(1).tolist() == exponents
    # What the score cannot do: no step of Newton is unlike its best-matching descent.
    assert found.amax(1).min() > 0.98


def test_calibrating_on_too_few_prompts_is_refused():
    with pytest.raises(MesascopeError, match="n_prompts=30: expected at least 40"):
        calibrate(WIDE, FEW[:1], FEW, n_prompts=30)
