import pytest

from mesascope.analyses.similarity.course import LAWS, Course
from mesascope.models import Newton
from mesascope.models.learners.base import Sweep


def course(steps: list[int], counted: tuple[int, ...], grid: tuple[int, ...] = tuple(range(65))) -> Course:
    labels = ("input", *(f"layer {i}" for i in range(1, len(steps))))
    rows = [tuple(float(k == best) for k in grid) for best in steps]
    return Course(Sweep(Newton(64), grid), labels, tuple(rows), counted)


def test_growth_finds_the_line_that_was_planted():
    linear, doubling = course([0, 3, 6, 9, 12], (1, 2, 3, 4)), course([0, 4, 8, 16, 32], (1, 2, 3, 4))
    assert linear.best_steps == (0, 3, 6, 9, 12) and linear.steps_by_depth == (3, 6, 9, 12)
    assert linear.growth("linear") == pytest.approx((3, 0, 1))
    assert doubling.growth("exponential") == pytest.approx((1, 1, 1))
    assert (linear.growth("exponential") or [1, 1, 1])[2] < 0.97 and (doubling.growth("linear") or [1, 1, 1])[2] < 0.93
    assert linear.fits == {law: linear.growth(law) for law in LAWS}
    assert linear.name == "Newton"


@pytest.mark.parametrize(
    "steps, counted, law",
    [([0, 3, 6, 9], (1, 2), "linear"), ([0, 5, 5, 5], (1, 2, 3), "linear"), ([0, 0, 4, 8], (1, 2, 3), "exponential")],
    ids=["two layers", "no growth", "no steps"],
)
def test_growth_of_nothing_is_no_line(steps, counted, law):
    found = course(steps, counted)
    assert found.growth(law) is None and law not in found.fits and found.data()["r2"][law] is None
