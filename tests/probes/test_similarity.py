import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mesascope.models import (
    GradientDescent,
    IterativeLearner,
    Learner,
    LeastSquares,
    LinearRegression,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    Prompts,
    Ridge,
)
from mesascope.models.inputs import random_bases
from mesascope.models.learners.base import Sweep
from mesascope.models.streams import generator
from mesascope.probes import Estimate, jackknife_ratio, similarity_of_errors
from mesascope.probes.similarity import (
    ByErrors,
    ByWeights,
    Roster,
    SimilaritySums,
    holds_weights,
    similarity_of_weights,
)

NEWTON, DESCENT = Sweep(Newton(4), (1, 2, 4)), Sweep(GradientDescent(8, 0.1), (2, 8))
SWEEPS = (NEWTON, Sweep(Ridge(0.5)), DESCENT, Sweep(OnlineGradientDescent(0.1)))
TASK = LinearRegression(n_dims=3, n_points=9)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_equals_a_loop_over_prompts():
    a, b, ys = draws(6, 4), draws(6, 4, seed=1), draws(6, 4, seed=2)
    for i, found in enumerate(similarity_of_errors(a, b, ys).tolist()):
        errors_a = [float(a[i, t] - ys[i, t]) for t in range(4)]
        errors_b = [float(b[i, t] - ys[i, t]) for t in range(4)]
        product = math.fsum(x * y for x, y in zip(errors_a, errors_b, strict=True))
        assert found == pytest.approx(product / math.hypot(*errors_a) / math.hypot(*errors_b), rel=1e-12)


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(1e-6, 1e6))
def test_it_is_symmetric_in_range_and_blind_to_scale(seed, n_read, scale):
    a, b, ys = draws(3, 5, n_read, seed=seed)
    found = similarity_of_errors(a, b, ys)
    assert (found.abs() <= 1).all()
    assert torch.equal(found, similarity_of_errors(b, a, ys))
    torch.testing.assert_close(similarity_of_errors(scale * a, scale * b, scale * ys), found)
    # The size of one predictor's errors does not matter, only their direction (above rounding, which counts as exact).
    shrunk = ys + max(scale, 1e-3) * (a - ys)
    torch.testing.assert_close(similarity_of_errors(shrunk, b, ys), found, atol=1e-9, rtol=1e-9)


def test_equal_predictions_are_similar_and_opposite_errors_are_not():
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    torch.testing.assert_close(similarity_of_errors(a, a, ys), torch.ones(5).double())
    torch.testing.assert_close(similarity_of_errors(a, 2 * ys - a, ys), -torch.ones(5).double())


def test_exact_predictors_are_similar_to_each_other_only():
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    assert (similarity_of_errors(ys, ys, ys) == 1).all()
    assert (similarity_of_errors(a, ys, ys) == 0).all()
    assert (similarity_of_errors(ys, a, ys) == 0).all()


@pytest.mark.parametrize("size", [1e200, float("inf"), float("nan")])
def test_a_diverged_predictor_is_similar_to_none(size):
    # 1e200 is finite but its norm overflows.
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    assert (similarity_of_errors(torch.full_like(a, size), a, ys) == 0).all()


def test_leading_axes_broadcast():
    a, rivals, ys = draws(5, 4), draws(3, 5, 4, seed=1), draws(5, 4, seed=2)
    found = similarity_of_errors(a, rivals, ys)
    assert found.shape == (3, 5)
    for row, rival in zip(found, rivals, strict=True):
        torch.testing.assert_close(row, similarity_of_errors(a, rival, ys))
    grid = similarity_of_errors(rivals[:, None], rivals, ys)
    torch.testing.assert_close(grid.diagonal().T, torch.ones(3, 5).double())


@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_similarity_of_weights_is_the_cosine_whatever_the_basis_and_the_sizes(seed, scale_a, scale_b):
    a, b = draws(2, 5, 3, seed=seed)
    found = similarity_of_weights(a, b)
    for row, (x, y) in zip(found.tolist(), zip(a.tolist(), b.tolist(), strict=True), strict=True):
        product = math.fsum(p * q for p, q in zip(x, y, strict=True))
        assert row == pytest.approx(product / math.hypot(*x) / math.hypot(*y), rel=1e-9, abs=1e-12)
    turned = random_bases(1, 3, generator(seed, "turn"))[0]
    torch.testing.assert_close(similarity_of_weights(scale_b * b @ turned, scale_a * a @ turned), found)


@pytest.mark.parametrize("nothing", [0.0, float("nan"), float("inf")])
def test_weights_that_have_no_direction_are_similar_to_none(nothing):
    a, none = draws(5, 3), torch.full((5, 3), nothing, dtype=torch.float64)
    assert (similarity_of_weights(a, none) == 0).all() and (similarity_of_weights(none, none) == 0).all()


def weights_of(learner: Learner, prompts: Prompts) -> torch.Tensor:
    assert isinstance(learner, IterativeLearner | OnlineGradientDescent)
    return learner.weights(prompts)


def summed(prompts: Prompts, measure: ByErrors | ByWeights, batch: int, n_blocks: int = 5) -> SimilaritySums:
    """Every member of `SWEEPS` against every member, in batches of so many prompts."""
    sums, n_units = SimilaritySums(n_blocks), len(prompts) // measure.unit
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        directions = [measure.directions(measure.predict(sweep, part), part) for sweep in SWEEPS]
        units = torch.arange(start // measure.unit, (start + len(part)) // measure.unit)
        sums.update(units * n_blocks // n_units, torch.cat(directions), directions)
    return sums


@pytest.fixture
def prompts() -> Prompts:
    return TASK.sample(30, seed=0, dtype=torch.float64)


@pytest.fixture(params=["errors", "weights"])
def measure(request) -> ByErrors | ByWeights:
    return ByErrors(range(9), range(1, 9), unit=1) if request.param == "errors" else ByWeights([2, 6], seed=0)


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_streamed_sums_equal_a_loop_over_pairs(prompts, measure, batch):
    sums = summed(prompts, measure, batch)
    members = Roster(SWEEPS).members
    for i, a in enumerate(members):
        for j, b in enumerate(members):
            if measure.by == "errors":
                ours, theirs = a.predict(prompts)[:, 1:], b.predict(prompts)[:, 1:]
                each = similarity_of_errors(ours, theirs, prompts.ys[:, 1:])[:, None]
            else:
                each = similarity_of_weights(*(weights_of(learner, prompts)[:, [2, 6]] for learner in (a, b)))
            assert sums.mean[i, j].item() == pytest.approx(each.mean().item(), abs=1e-12)
            torch.testing.assert_close(sums.by_part[:, i, j], each.mean(0))
            blocks = each.mean(1).unflatten(0, (5, 6)).sum(1)
            expected = jackknife_ratio(blocks, torch.full_like(blocks, 6.0))
            found = sums.estimate(i, j)
            assert found.value == pytest.approx(expected.value, abs=1e-12)
            assert found.ci == pytest.approx((expected.low, min(expected.high, 1.0)), abs=1e-9)
    differences = (sums.sums[:, :, 3, 0] - sums.sums[:, :, 6, 0]).mean(1)
    expected, found = jackknife_ratio(differences, sums.counts), sums.estimate(3, 0, beyond=6)
    assert (found.value, *found.ci) == pytest.approx((expected.value, *expected.ci), abs=1e-12)
    assert sums.estimate(3, 0, beyond=3) == Estimate(0.0, 0.0, 0.0)


def test_sums_of_two_halves_add_up(prompts):
    measure = ByErrors(range(9), range(9), unit=1)
    both = summed(prompts[:12], measure, 5) + summed(prompts[12:], measure, 30)
    torch.testing.assert_close(both.mean, summed(prompts, measure, 30).mean)
    assert both.counts.sum() == 30


def test_a_roster_lists_members_and_keeps_some_of_them():
    roster = Roster(SWEEPS)
    assert [member.label for member in roster.members] == [
        *(f"Newton k={k}" for k in (1, 2, 4)),
        "ridge r=0.5",
        *(f"GD k={k} η=0.1 (mean loss)" for k in (2, 8)),
        "online GD η=0.1",
    ]
    assert roster.only([1, 2, 5, 6]).members == tuple(roster.members[i] for i in (1, 2, 5, 6))
    assert roster.rows(2) == slice(4, 6)
    scores = torch.tensor([0.1, 0.9, 0.9, 0.3, 0.2, 0.5, float("-inf")])
    assert roster.best(scores) == {"Newton": 1, "GD": 5, "ridge": 3, "online GD": 6}


def test_a_unit_of_several_prompts_is_one_long_prompt(prompts):
    measure = ByErrors(range(8, 9), [8], unit=10)
    (sums,) = summed(prompts, measure, 30, n_blocks=1).by_part
    preds = torch.stack([member.predict(prompts)[:, 8] for member in Roster(SWEEPS).members])
    ys = prompts.ys[:, 8].unflatten(0, (3, 10))
    a, b = (preds[i].unflatten(0, (3, 10)) for i in (0, 3))
    torch.testing.assert_close(sums[0, 3], similarity_of_errors(a, b, ys).mean())


@pytest.mark.parametrize("unit, other", [(1, [1, 0, 3, 2]), (2, [2, 3, 0, 1])])
def test_swapping_hands_each_unit_its_neighbours_values(unit, other):
    values = draws(3, 4, 5)
    swapped = ByErrors(range(5), range(5), unit).swapped(values)
    assert torch.equal(swapped, values[:, other])


def test_a_predictors_kept_points_are_those_of_the_points_it_reads(prompts):
    def last_two(prompts: Prompts) -> torch.Tensor:
        return LeastSquares().predict(prompts)[None, :, 7:]

    values = ByErrors(range(7, 9), [8], unit=10).read(last_two, prompts)
    torch.testing.assert_close(values, LeastSquares().predict(prompts)[None, :, 8:])


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.learner.family)
def test_induced_weights_of_a_learner_are_the_weights_it_holds(prompts, sweep):
    measure = ByWeights([2, 8], seed=0)
    held = torch.stack([weights_of(member, prompts) for member in sweep.members()])[:, :, [2, 8]]
    torch.testing.assert_close(measure.predict(sweep, prompts), held)
    induced = measure.read(lambda asked: sweep.predict(asked), prompts)
    torch.testing.assert_close(induced, held)


def test_a_learner_without_weights_says_so():
    assert not holds_weights(NearestNeighbours(2))
    assert all(holds_weights(sweep.learner) for sweep in SWEEPS)


def at_the_last_point(prompts: Prompts) -> torch.Tensor:
    return summed(prompts, ByErrors(range(9), [8], unit=10), 30).mean


def test_only_learners_that_heed_the_order_notice_a_permutation_of_the_points(prompts):
    order = torch.tensor([*torch.randperm(8, generator=generator(0, "order")).tolist(), 8])
    permuted = Prompts(prompts.xs[:, order], prompts.ys[:, order])
    before, after = at_the_last_point(prompts), at_the_last_point(permuted)
    torch.testing.assert_close(after[:6, :6], before[:6, :6])
    assert (after[:6, 6] - before[:6, 6]).abs().max() > 1e-3  # online GD is the last


def test_a_scale_of_y_and_a_rotation_of_x_change_nothing(prompts, measure):
    turned = prompts.xs @ random_bases(30, 3, generator(0, "turn")).mT
    before, after = (summed(p, measure, 30).mean for p in (prompts, Prompts(turned, -7.3 * prompts.ys)))
    torch.testing.assert_close(after, before)
