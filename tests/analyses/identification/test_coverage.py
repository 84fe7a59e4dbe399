import pytest

from mesascope.analyses.identification.coverage import Coverage, measure_coverage
from mesascope.analyses.identification.plants import Plant
from mesascope.models import GradientDescent, LeastSquares, LinearRegression, Newton, Ridge

TASK = LinearRegression(n_dims=3, n_points=9)


def test_the_share_is_of_all_repetitions():
    assert Coverage("ridge r=0.5", "r", 0.5, 19, 20).share == 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant, quantity, truth",
    [
        (Plant((Ridge(0.5),)), "r", 0.5),
        (Plant((GradientDescent(7, 0.05),)), "τ", 0.35),
        (Plant((Newton(4), LeastSquares()), 0.5), "t", 0.5),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)
def test_intervals_hold_the_truth_as_often_as_they_say(plant, quantity, truth):
    # 40 repetitions: an interval that holds it in 95% misses more than 6 of 40 once in 200 runs; one of half the width
    # (67%) passes once in 100.
    said: list[int] = []
    (found,) = measure_coverage(plant, TASK, n=40, n_prompts=128, on_repetition=said.append)
    assert (found.planted, found.quantity, found.n) == (plant.label, quantity, 40) and said == list(range(40))
    assert found.truth == pytest.approx(truth)
    assert found.covered >= 34


def test_without_noise_the_fit_is_the_truth():
    (found,) = measure_coverage(Plant((Newton(4),)), TASK, n=2, noise=0.0, n_prompts=60)
    assert found.truth == 4 and found.covered == 2
