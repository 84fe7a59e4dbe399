import math

import pytest
import torch

from mesascope.models.streams import generator
from mesascope.probes.change_points import CLEAR, LEVEL, MIN_POINTS, Course, find_change

DOUBLING = [0, *(2**power for power in range(13)), 5000]
FINE = sorted({0, 3000, *(round(2 ** (power / 8)) for power in range(93))})


def sigmoid(grid: list[int], middle: float, width: float = 0.2) -> torch.Tensor:
    """From 0 to 1 in log(1 + step), half at `middle`."""
    x = torch.log1p(torch.tensor(grid, dtype=torch.float64))
    return torch.sigmoid((x - math.log1p(middle)) / width)


def noise(grid: list[int], index: int) -> torch.Tensor:
    return torch.randn(len(grid), dtype=torch.float64, generator=generator(index, "noise of a test"))


def found(grid: list[int], curve: torch.Tensor, error: float = 0.01, seed: int = 0) -> Course:
    return find_change(grid, curve.tolist(), [error] * len(grid), generator(seed, "test"))


@pytest.mark.parametrize("grid", [DOUBLING, FINE], ids=["doubling", "fine"])
@pytest.mark.parametrize("error", [0.02, 0.1])
def test_intervals_hold_planted_change_points(grid, error):
    held = {"half": 0, "onset": 0}
    for index in range(12):
        middle = 60 * 10 ** (index / 12)
        course = found(grid, sigmoid(grid, middle) + error * noise(grid, index), error, index)
        truth = {"half": middle, "onset": math.expm1(math.log1p(middle) - 0.2 * math.log(9))}
        for name, crossing in (("half", course.half), ("onset", course.onset)):
            assert crossing is not None
            held[name] += crossing.ci[0] <= truth[name] <= crossing.ci[1]
    # Intervals end at checkpoints, so they hold more often than 95 of 100 (.98 and more in longer simulations).
    assert held["half"] >= 11 and held["onset"] >= 11


@pytest.mark.parametrize("grid", [DOUBLING[:6], DOUBLING, FINE], ids=["short", "doubling", "fine"])
@pytest.mark.parametrize("stated", [1.0, 0.0], ids=["known noise", "unknown noise"])
def test_noise_alone_is_no_change(grid, stated):
    changes = [found(grid, noise(grid, index), stated, index).changes for index in range(100)]
    assert sum(changes) <= 5


def test_a_constant_is_no_change():
    for value in (0.0, 0.3, 1e6):
        course = found(FINE, torch.full((len(FINE),), value, dtype=torch.float64), 0.0)
        assert not course.changes and course.p == 1.0 and course.half is None and course.onset is None


def test_a_change_within_the_estimates_own_noise_is_none():
    curve = 0.01 * sigmoid(FINE, 300)  # smooth, as curves of shared prompts are
    assert found(FINE, curve, 0.001).changes
    assert not found(FINE, curve, 0.1).changes


def test_estimates_that_share_their_errors_are_not_averaged():
    step = (torch.tensor(FINE) > 100).double()
    assert found(FINE, 0.03 * step, 0.01).p == pytest.approx(2 * 0.01695, rel=0.01)  # 3/sqrt(2) standard errors
    assert found(FINE, 0.05 * step, 0.01).changes


def test_scatter_beyond_the_stated_errors_counts_as_noise():
    curve = sigmoid(FINE, 300) + 0.2 * noise(FINE, 0)
    told, untold = found(FINE, curve, 0.2), found(FINE, curve, 0.0)
    assert told.half is not None and untold.half is not None
    width, width_untold = (half.ci[1] - half.ci[0] for half in (told.half, untold.half))
    assert width_untold > 0.3 * width


def test_neither_sign_nor_unit_of_a_curve_matters():
    curve = sigmoid(FINE, 300) + 0.05 * noise(FINE, 1)
    one, other = found(FINE, curve, 0.05), found(FINE, 7 - 1000 * curve, 50.0)
    assert one.half is not None and other.half is not None
    assert other.half.at == pytest.approx(one.half.at, rel=1e-6)
    assert other.before == pytest.approx(7 - 1000 * one.before)
    assert other.after == pytest.approx(7 - 1000 * one.after)


def test_where_a_curve_without_noise_is_half_of_the_way():
    course = found(FINE, 3 + 2 * sigmoid(FINE, 300, 0.1), 0.0)
    assert course.half is not None and course.onset is not None
    assert course.before == pytest.approx(3, abs=1e-6) and course.after == pytest.approx(5, abs=1e-6)
    assert course.half.at == pytest.approx(300, rel=0.01)
    assert course.onset.at == pytest.approx(math.expm1(math.log1p(300) - 0.1 * math.log(9)), rel=0.03)


def test_intervals_are_never_finer_than_the_grid():
    course = found(DOUBLING, (torch.tensor(DOUBLING) > 200).double(), 0.0)
    assert course.half is not None and course.onset is not None
    assert course.half.ci == course.onset.ci == (128, 256)


def test_the_last_of_five_levels_may_be_seen_only_once():
    course = found([0, 1, 2, 4, 8], torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64), 0.001)
    assert course.half is not None and course.half.ci == (4, 8)


def test_a_curve_that_has_left_before_the_second_step_leaves_in_between():
    course = found(DOUBLING, (torch.tensor(DOUBLING) > 0).double(), 0.001)
    assert course.onset is not None and course.onset.ci == (0, 1)


def test_a_transient_at_the_start_moves_no_level():
    curve = sigmoid(FINE, 1000)
    with_transient = curve + 0.3 * (torch.tensor(FINE) < 12)
    plain, disturbed = found(FINE, curve), found(FINE, with_transient)
    assert plain.onset is not None and disturbed.onset is not None
    assert disturbed.before == pytest.approx(plain.before, abs=0.01)
    assert disturbed.onset.at == pytest.approx(plain.onset.at, rel=0.05)


def test_a_curve_that_comes_back_gets_an_interval_over_all_its_crossings():
    steps = torch.tensor(FINE)
    back = (steps > 400) & (steps < 600)
    course = found(FINE, (steps > 100).double() * (~back).double())
    assert course.half is not None
    low, high = course.half.ci
    assert low <= 100 and high >= 600
    # Back by less than its noise, it was never away.
    slightly = (steps > 100).double() * (1 - (0.5 + 0.5 * CLEAR * 0.05) * back.double())
    course = found(FINE, slightly, 0.05)
    assert course.half is not None and course.half.ci[1] < 600


def test_the_order_of_two_changes_is_open_within_a_step_of_the_grid():
    early, late, beside = (found(FINE, sigmoid(FINE, middle, 0.01)).half for middle in (100, 300, 103))
    assert early is not None and late is not None and beside is not None
    steps, (low, high) = late.after(early)
    assert steps == pytest.approx(200, abs=10) and 150 < low < steps < high < 250
    low, high = beside.after(early)[1]
    assert low < 0 < high
    back, (low_back, high_back) = early.after(late)
    assert (back, low_back, high_back) == (-steps, -late.after(early)[1][1], -late.after(early)[1][0])


def test_a_seed_gives_the_same_intervals_again():
    curve = sigmoid(FINE, 300) + 0.1 * noise(FINE, 2)
    one, again = found(FINE, curve, 0.1), found(FINE, curve, 0.1)
    assert one.half is not None and again.half is not None
    assert one.p == again.p <= LEVEL and one.half.ci == again.half.ci


@pytest.mark.parametrize(
    "steps, values, complaint",
    [
        ([0, 1, 2, 4], [0.0] * 4, f"needs {MIN_POINTS} steps, got 4"),
        ([0, 1, 1, 2, 4], [0.0] * 5, "steps must increase"),
        ([0, 1, 2, 4, 8], [0.0, math.nan, 0.0, 0.0, 0.0], r"not finite at steps \[1\]"),
    ],
)
def test_a_curve_that_cannot_be_read_is_refused(steps, values, complaint):
    with pytest.raises(ValueError, match=complaint):
        find_change(steps, values, [0.1] * len(steps), generator(0, "test"))
