from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from mesascope.models import (
    Averaging,
    GradientDescent,
    GradientDescentPlusPlus,
    LeastSquares,
    LinearRegression,
    Newton,
    Prompts,
    Ridge,
    learners,
)
from mesascope.models.battery import (
    EARNED,
    N_FEW,
    NEGLIGIBLE,
    UNSURE,
    Sweep,
    Target,
    battery,
    bounded,
    polish,
    refine,
    refine_mixtures,
    rivals,
)
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.learners.base import Learner
from mesascope.models.learners.zero import Zero
from tests.models.learners.prompts import prompts_of

TASK = LinearRegression(n_dims=3, n_points=6, noise_std=0.1)
POINTS = tuple(range(1, 12))


def target_of(learner, unexplainable=0.0, noise=0.0, **options):
    """A learner's predictions, to be imitated; `prompts_of` has 12 points."""
    prompts = prompts_of(**({"n_prompts": 16} | options))
    preds = bounded(learner.predict_at(prompts, POINTS), prompts, POINTS)
    rng = torch.Generator().manual_seed(0)
    preds = preds + noise * torch.randn(preds.shape, generator=rng, dtype=torch.float64)
    return Target(prompts, POINTS, preds, unexplainable)


# The rivals.


def test_every_member_of_the_battery_predicts_what_it_predicts_alone():
    prompts = prompts_of(3, 6, n_prompts=2)
    members, preds = battery(prompts, rivals(TASK))
    assert preds.shape == (len(members), 2, 6)
    for member, together in zip(members, preds, strict=True):
        torch.testing.assert_close(together, member.predict(prompts), equal_nan=True, msg=member.label)


def test_some_points_are_predicted_as_they_are_among_all():
    prompts, sweeps = prompts_of(3, 6, n_prompts=2), rivals(TASK)
    members, some = battery(prompts, sweeps, [5, 2])
    _, every = battery(prompts, sweeps)
    for member, one, all_points in zip(members, some, every, strict=True):
        torch.testing.assert_close(one, all_points[:, [5, 2]], equal_nan=True, msg=member.label)


def test_the_rivals_are_all_learners_that_say_how_they_are_to_be_tried_and_no_two_are_alike():
    members = [member for sweep in rivals(TASK) for member in sweep.members()]
    assert len(set(members)) == len(members)
    classes = [getattr(learners, name) for name in learners.__all__]
    expected = {
        cls.family for cls in classes if isinstance(cls, type) and issubclass(cls, Learner) and cls.sweeps(TASK)
    }
    found = {member.family for member in members}
    assert found == expected
    assert found >= {"GD", "scheduled GD", "GD++", "momentum", "Chebyshev", "conjugate gradient", "Newton", "ridge"}
    assert found >= {"least squares", "online GD", "averaging", "nearest neighbours", "lasso"}
    assert Zero.family not in found


def test_a_preconditioner_is_tried_only_where_all_prompts_share_their_covariance():
    shared = TASK.model_copy(update={"inputs": Gaussian(basis="axes")})
    families = [{sweep.learner.family for sweep in rivals(task)} for task in (TASK, shared)]
    assert families[1] - families[0] <= {"preconditioned GD"}


@pytest.mark.parametrize("half_width", [0.1, 5.0])
def test_the_grids_scale_with_the_inputs_so_that_predictions_do_not_depend_on_units(half_width):
    def predicted(task):
        prompts = task.sample(3, seed=0, dtype=torch.float64)
        # Averaging has no scale: its step is 1, whatever the units of x.
        sweeps = [sweep for sweep in rivals(task) if sweep.learner != Averaging()]
        return battery(prompts, sweeps)[1] / prompts.ys.abs().mean()

    one, other = (LinearRegression(n_dims=3, n_points=6, inputs=Uniform(half_width=h)) for h in (1.0, half_width))
    torch.testing.assert_close(predicted(other), predicted(one), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_a_sweep_from_zero_steps_names_its_members_rightly():
    assert list(Sweep(Newton(3), (0, 1, 3)).members()) == [Newton(0), Newton(1), Newton(3)]


def test_a_sweep_without_steps_is_its_learner():
    assert list(Sweep(Zero()).members()) == [Zero()]
    assert Sweep(Zero()).predict(prompts_of(), [1, 2]).shape == (1, 4, 2)


# What is imitated.


def one_point(ys, last):
    """A prompt on a line where least squares predicts `last` at the last point: y = x·ys[0] from x = 1."""
    xs = torch.tensor([1.0, last / ys[0]], dtype=torch.float64)[None, :, None]
    return Prompts(xs, torch.tensor([ys], dtype=torch.float64))


def test_what_diverges_stands_at_three_times_the_largest_y_of_its_own_prompt():
    prompts = one_point([2.0, -4.0], last=3.0)
    huge = torch.tensor([1e30, -1e30, torch.inf, -torch.inf, torch.nan], dtype=torch.float64)
    found = torch.cat([bounded(value[None, None], prompts, [1])[0] for value in huge])
    torch.testing.assert_close(found, 12.0 * torch.tensor([1, -1, 1, -1, 1]).double())


def test_what_is_not_extreme_is_left_as_it_is():
    prompts = one_point([2.0, -4.0], last=3.9)
    for value in (-11.9, 0.0, 5.0, 11.9):
        assert bounded(torch.tensor([[value]]), prompts, [1]).item() == pytest.approx(value)
    assert bounded(torch.tensor([[1.0]]), prompts, [1]).dtype == torch.float64


def test_where_least_squares_exceeds_the_largest_y_all_is_scaled_down_alike():
    prompts = one_point([2.0, -4.0], last=40.0)
    for value in (40.0, 8.0, -1.0):
        assert bounded(torch.tensor([[value]]).double(), prompts, [1]).item() == pytest.approx(value / 10)
    assert bounded(torch.tensor([[121.0]]).double(), prompts, [1]).item() == 12


def test_mixtures_of_what_has_not_diverged_stay_mixtures():
    # Noisy, and as many points as dimensions among the prefixes: least squares explodes there.
    prompts = prompts_of(n_prompts=50, noise_std=2.0)
    a, b = (learner.predict_at(prompts, POINTS) for learner in (LeastSquares(), Ridge(0.5)))
    tamed_a, tamed_b, tamed = (bounded(preds, prompts, POINTS) for preds in (a, b, 0.3 * a + 0.7 * b))
    assert not torch.allclose(tamed_a, a)
    torch.testing.assert_close(tamed, 0.3 * tamed_a + 0.7 * tamed_b)


@pytest.mark.parametrize("factor", [1e-6, -3.0, 1e5])
def test_bounds_have_the_units_of_y(factor):
    prompts = prompts_of(n_prompts=20, noise_std=2.0)
    moved = Prompts(prompts.xs, factor * prompts.ys)
    preds = GradientDescent(20, 0.5).predict_at(prompts, POINTS)
    found = bounded(factor * preds, moved, POINTS)
    torch.testing.assert_close(found, factor * bounded(preds, prompts, POINTS), rtol=1e-9, atol=0)


def test_points_and_leading_axes_are_bounded_each_on_its_own():
    prompts = prompts_of(n_prompts=3)
    preds = 100 * torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = bounded(preds, prompts, [2, 5, 6, 9])
    torch.testing.assert_close(both[1], bounded(preds[1], prompts, [2, 5, 6, 9]), rtol=0, atol=0)
    torch.testing.assert_close(both[..., 2:3], bounded(preds[..., 2:3], prompts, [6]))
    one = prompts[1:2]
    torch.testing.assert_close(both[:, 1:2], bounded(preds[:, 1:2], one, [2, 5, 6, 9]))


def test_distance_is_that_of_the_bounded_predictions_at_the_points_that_count():
    target = target_of(LeastSquares())
    diverged = GradientDescent(40, 5.0)
    assert target.distance(LeastSquares()) == 0
    assert target.distance(Zero()) == pytest.approx(target.preds.square().sum().item())
    assert target.size == pytest.approx(target.distance(Zero()))
    reach = 3 * target.prompts.ys.abs().amax()
    assert target.distance(diverged) <= target.preds.numel() * (2 * reach) ** 2


def test_the_floor_is_a_thousandth_of_the_smaller_of_size_and_error_and_some_of_the_unexplainable():
    noisy = target_of(LeastSquares(), unexplainable=2.0)
    error = (noisy.preds - noisy.prompts.ys[:, 1:]).square().sum().item()
    assert error < noisy.size
    assert noisy.floor == pytest.approx(NEGLIGIBLE * error + UNSURE * 2.0)
    early = target_of(GradientDescent(1, 0.001))  # predicts little
    assert early.floor == pytest.approx(NEGLIGIBLE * early.size)


def test_a_scalar_more_must_bring_a_tenth_of_what_is_left():
    @dataclass(frozen=True)
    class Off(Learner):
        """It errs by a constant, and has as many scalars as it is told."""

        family: ClassVar[str] = "off"
        by: float
        n: int
        label = "off"

        def predict(self, prompts):
            return LeastSquares().predict(prompts) + self.by

        def parameters(self):
            return torch.zeros(self.n).numpy()

    target = target_of(LeastSquares(), unexplainable=1e-4)

    def at(distance, n):
        return target.criterion(Off((distance / target.preds.numel()) ** 0.5, n))

    # Far above the floor a tenth in the logarithm: e^-0.1 of the distance is worth one scalar, .95 of it is not.
    big = 1e4 * target.floor
    assert at(0.85 * big, 1) < at(big, 0) < at(0.95 * big, 1)
    # Below the floor and within the unexplainable nothing is worth a scalar, but without one nearer is better.
    assert at(0, 0) < at(0.5e-4, 0) < at(0, 1)
    assert at(big, 3)[0] - at(big, 1)[0] == pytest.approx(2 * EARNED)


def test_few_prompts_hold_some_hundreds_of_predictions_and_one_prompt_at_least():
    target = target_of(LeastSquares(), n_prompts=200)
    few = target.few()
    assert len(few.prompts) == len(few.preds) == -(-N_FEW // len(POINTS))
    assert few.distance(LeastSquares()) == 0
    assert few.unexplainable == target.unexplainable
    short = target_of(LeastSquares(), n_prompts=2).few()
    assert len(short.prompts) == 2


# Refining.


@pytest.mark.parametrize(
    "truth",
    [GradientDescent(5, 0.13), GradientDescent(5, 0.071), Ridge(0.65), Ridge(0.26)],
    ids=lambda learner: learner.label,
)
def test_polishing_moves_a_scalar_of_the_grid_to_the_true_one(truth):
    (name,) = truth.scalars
    found = polish(GradientDescent(5, 0.1) if isinstance(truth, GradientDescent) else Ridge(0.4), target_of(truth))
    assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-6)
    assert (found.n_steps, type(found)) == (truth.n_steps, type(truth))


@pytest.mark.parametrize("start", [(8, 0.1), (32, 0.02), (19, 0.03)], ids=str)
def test_refining_finds_steps_and_step_size_of_gradient_descent(start):
    truth = GradientDescent(17, 0.043)
    found = refine(GradientDescent(*start), target_of(truth, n_prompts=40))
    assert isinstance(found, GradientDescent)
    assert found.n_steps == 17 and found.eta == pytest.approx(0.043, rel=1e-5)


def test_refining_keeps_the_loss_that_is_stepped_on():
    found = refine(GradientDescent(8, 0.02, "sum"), target_of(GradientDescent(9, 0.012, "sum")))
    assert isinstance(found, GradientDescent) and found.loss == "sum" and found.n_steps == 9


def test_refining_finds_every_scalar_of_a_richer_family():
    truth = GradientDescentPlusPlus((0.2, 0.4), (0.15, 0.0))
    found = refine(GradientDescentPlusPlus((0.15, 0.3), (0.1, 0.0)), target_of(truth))
    torch.testing.assert_close(torch.tensor(found.parameters()), torch.tensor(truth.parameters()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("start", [GradientDescent(4, 0.2), Ridge(10.0), GradientDescent(64, 3.0)], ids=repr)
@pytest.mark.parametrize("truth", [LeastSquares(), Newton(2), Zero()], ids=repr)
def test_refining_never_imitates_worse_than_before(start, truth):
    target = target_of(truth)
    assert target.distance(refine(start, target)) <= target.distance(start)
    assert target.distance(polish(start, target)) <= target.distance(start)


@pytest.mark.parametrize("learner", [Newton(4), LeastSquares(), Zero()], ids=repr)
def test_a_learner_without_free_scalars_is_left_as_it_is(learner):
    assert refine(learner, target_of(Newton(7))) is learner


def test_a_learner_that_is_exact_is_left_as_it_is():
    exact = Ridge(0.5)
    assert refine(exact, target_of(exact)).strength["r"] == pytest.approx(0.5, rel=1e-9)


def mixed(*parts, n_prompts=60):
    """A target that is a mixture, of learners by their shares."""
    prompts = prompts_of(n_prompts=n_prompts)
    preds = sum(share * learner.predict_at(prompts, POINTS) for share, learner in parts)
    return Target(prompts, POINTS, bounded(preds, prompts, POINTS))


def test_a_mixture_of_two_is_found_with_their_scalars():
    target = mixed((0.4, Ridge(0.7)), (0.6, GradientDescent(6, 0.08)))
    ((one, other),) = refine_mixtures([(Ridge(1.0), GradientDescent(6, 0.1))], target)
    assert isinstance(other, GradientDescent)
    assert one.strength["r"] == pytest.approx(0.7, rel=1e-4) and other.eta == pytest.approx(0.08, rel=1e-4)
    assert other.n_steps == 6


def test_a_mixture_finds_its_steps_too():
    target = mixed((0.5, LeastSquares()), (0.5, GradientDescent(6, 0.08)))
    ((_, found),) = refine_mixtures([(LeastSquares(), GradientDescent(8, 0.08))], target)
    assert isinstance(found, GradientDescent) and found.n_steps == 6
    assert found.eta == pytest.approx(0.08, rel=1e-4)


def test_a_mixture_with_zero_is_a_scaled_learner():
    ((found, zero),) = refine_mixtures([(Ridge(1.0), Zero())], mixed((0.3, Ridge(0.7))))
    assert zero == Zero() and found.strength["r"] == pytest.approx(0.7, rel=1e-4)


def test_the_mixture_that_imitates_best_comes_first_and_none_is_lost():
    target = mixed((0.5, LeastSquares()), (0.5, Newton(2)), n_prompts=20)
    pairs = [(Ridge(1.0), Newton(4)), (LeastSquares(), GradientDescent(4, 0.1)), (LeastSquares(), Newton(2))]
    found = refine_mixtures(pairs, target)
    assert found[0] == (LeastSquares(), Newton(2))
    assert {tuple(x.family for x in pair) for pair in found} == {tuple(x.family for x in pair) for pair in pairs}


def test_a_mixture_of_two_without_scalars_is_left_as_it_is():
    pair = Newton(3), LeastSquares()
    assert refine_mixtures([pair], target_of(Newton(2))) == [pair]
    assert refine_mixtures([], target_of(Newton(2))) == []
