import pytest
import torch

from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    LinearRegression,
    MesascopeError,
    optimal_step,
    tuned_gd_plus_plus,
)
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.learners.curvature_corrected import gd_plus_plus_multipliers
from mesascope.models.spectra import Geometric, LogUniform
from mesascope.models.tuning import Contexts

TASKS = {
    "isotropic": LinearRegression(n_dims=3, n_points=8),
    "noisy, scaled": LinearRegression(n_dims=3, n_points=8, noise_std=0.7, w_std=1.6),
    "anisotropic, fixed": LinearRegression(
        n_dims=3, n_points=8, inputs=Gaussian(spectrum=Geometric(kappa=20), basis="fixed"), noise_std=0.4
    ),
    "uniform": LinearRegression(n_dims=3, n_points=8, inputs=Uniform(half_width=1.5)),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
UNIFORM = LinearRegression(n_dims=3, n_points=7, inputs=Uniform())


def loss_of(learner, contexts):
    scalars = (torch.tensor(values, dtype=torch.float64) for values in (learner.etas, learner.gammas))
    return contexts.loss(gd_plus_plus_multipliers(contexts.eigenvalues, *scalars)[-1]).item()


@every_task
@pytest.mark.parametrize(
    "learner",
    [GradientDescentPlusPlus((0.4, 0.6), (0.1, 0.0)), GradientDescentPlusPlus((0.0,), (0.0,))],
    ids=["two steps", "no step"],
)
def test_the_marginalised_loss_is_the_learners_sampled_error(task, learner):
    """Its own stream of contexts against y, w and noise drawn: four standard errors of the sample."""
    prompts = task.sample(20_000, seed=3, dtype=torch.float64)
    errors = (learner.predict(prompts)[:, -1] - prompts.ys[:, -1]).square()
    tolerance = 4 * errors.std().item() / 20_000**0.5
    assert abs(loss_of(learner, Contexts(task, 20_000, seed=0)) - errors.mean()) < 1.5 * tolerance


@every_task
def test_the_same_contexts_leave_only_w_query_and_noise_to_chance(task):
    """On one context, with 50,000 draws of everything else: the formula itself, not its average over contexts."""
    contexts = Contexts(task, 1, seed=5)
    xs = task.sample(1, seed=5, stream="tuning", dtype=torch.float64).xs[0, :-1]
    rng = torch.Generator().manual_seed(0)
    w = task.w_std * torch.randn(50_000, 3, dtype=torch.float64, generator=rng)
    noise = task.noise_std * torch.randn(50_000, len(xs) + 1, dtype=torch.float64, generator=rng)
    queries = task.inputs.sample(50_000, 1, 3, rng)[:, 0]
    b = (w @ xs.T + noise[:, :-1]) @ xs / len(xs)
    S, eta = xs.T @ xs / len(xs), 0.5
    w_hat = eta * b + eta * (b - eta * b @ S)  # two steps of gradient descent
    errors = ((queries * (w_hat - w)).sum(-1) - noise[:, -1]).square()
    loss = loss_of(GradientDescentPlusPlus((eta, eta), (0.0, 0.0)), contexts)
    assert abs(loss - errors.mean()) < 4 * errors.std() / 50_000**0.5


@every_task
def test_predicting_zero_costs_the_null_loss(task):
    contexts = Contexts(task, 4000, seed=0)
    assert contexts.loss(torch.zeros_like(contexts.eigenvalues)).item() == pytest.approx(task.null_loss, rel=1e-9)


def test_contexts_are_all_points_but_the_last():
    contexts = Contexts(TASKS["isotropic"], 10, seed=0)
    xs = TASKS["isotropic"].sample(10, seed=0, stream="tuning", dtype=torch.float64).xs[:, :-1]
    assert contexts.n_context == 7
    torch.testing.assert_close(contexts.eigenvalues.sum(-1), xs.square().sum((1, 2)) / 7)


@pytest.mark.parametrize("task", [TASKS["isotropic"], TASKS["uniform"], TASKS["noisy, scaled"]], ids=lambda t: "")
def test_one_step_is_the_closed_form_optimum(task):
    """10,000 contexts determine η to about 1%."""
    tuned = tuned_gd_plus_plus(task, 1, n_starts=3, n_prompts=10_000)
    assert tuned.etas[0] == pytest.approx(optimal_step(task).eta, rel=0.02)
    assert tuned.gammas == (0.0,)
    prompts = task.sample(500, seed=1, dtype=torch.float64)
    torch.testing.assert_close(tuned.predict(prompts), GradientDescent(1, tuned.etas[0]).predict(prompts))


def test_many_starts_are_never_worse_than_one():
    """A single start may end in a local optimum; the best of many cannot be above any of its own."""
    contexts = Contexts(UNIFORM, 1000, seed=0)
    best = loss_of(tuned_gd_plus_plus(UNIFORM, 3, n_starts=12, n_prompts=1000), contexts)
    alone = [loss_of(tuned_gd_plus_plus(UNIFORM, 3, n_starts=1, n_prompts=1000, seed=s), contexts) for s in range(6)]
    assert best <= min(alone) * 1.02 and best < max(alone)


def test_freedom_lowers_the_loss():
    """Tied is a special case of untied, two steps of three, and gradient descent of both: on the same contexts."""
    contexts = Contexts(UNIFORM, 2000, seed=0)
    losses = {
        (n_steps, tied): loss_of(tuned_gd_plus_plus(UNIFORM, n_steps, tied=tied, n_starts=8, n_prompts=2000), contexts)
        for n_steps, tied in [(1, False), (2, True), (2, False), (3, False)]
    }
    assert losses[1, False] > losses[2, True] > losses[2, False] > losses[3, False]


def test_tied_steps_share_one_eta_and_one_gamma_and_untied_ones_drop_the_last_gamma():
    tied, untied = (tuned_gd_plus_plus(UNIFORM, 3, tied=tied, n_starts=2, n_prompts=200) for tied in (True, False))
    assert len(set(tied.etas)) == len(set(tied.gammas)) == 1 and len(tied.etas) == 3
    assert len(set(untied.etas)) == 3 and untied.gammas[-1] == 0 and all(untied.gammas[:-1])


def test_tuning_is_reproducible_and_depends_on_the_seed():
    first, same, other = (tuned_gd_plus_plus(UNIFORM, 2, n_starts=3, n_prompts=200, seed=s) for s in (0, 0, 1))
    assert first == same != other


@pytest.mark.slow
def test_two_steps_reach_the_known_optimum():
    """d=10, n=20, U(-1, 1): η = (1.437, 11.50), γ = 1.361 from 40 starts on 20,000 contexts; here with fewer."""
    task = LinearRegression(n_dims=10, n_points=21, inputs=Uniform())
    tuned = tuned_gd_plus_plus(task, 2, n_starts=12, n_prompts=5000)
    known = GradientDescentPlusPlus((1.437, 11.50), (1.361, 0.0))
    held_out = Contexts(task, 5000, seed=1)
    assert loss_of(tuned, held_out) == pytest.approx(loss_of(known, held_out), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("tied, floor", [(True, 0.1104), (False, 0.0917)])
def test_two_steps_reach_the_floors_of_von_oswalds_setting(tied, floor):
    """d=n=10, U(-1/2, 1/2), loss ½ MSE: .1104 tied, .0917 per layer; 5000 contexts determine them to about 1%."""
    task = LinearRegression(n_dims=10, n_points=11, inputs=Uniform(half_width=0.5))
    tuned = tuned_gd_plus_plus(task, 2, tied=tied, n_starts=12, n_prompts=5000)
    assert loss_of(tuned, Contexts(task, 20_000, seed=1)) / 2 == pytest.approx(floor, rel=0.03)


@pytest.mark.parametrize("inputs", [Gaussian(spectrum=LogUniform(kappa=3)), Gaussian(spectrum=Geometric(kappa=3))])
def test_a_covariance_of_every_prompts_own_is_refused(inputs):
    task = LinearRegression(n_dims=3, n_points=8, inputs=inputs)
    for tune in (lambda: Contexts(task, 10, seed=0), lambda: tuned_gd_plus_plus(task, 2, n_prompts=10)):
        with pytest.raises(MesascopeError, match="another covariance for every prompt"):
            tune()


def test_a_prompt_without_context_is_refused():
    with pytest.raises(ValueError, match="n_points=1 leaves no context; expected at least 2"):
        Contexts(LinearRegression(n_points=1), 10, seed=0)


@pytest.mark.parametrize("n_steps, n_starts", [(0, 3), (2, 0)])
def test_no_step_or_no_start_is_refused(n_steps, n_starts):
    with pytest.raises(ValueError, match=f"n_steps={n_steps}, n_starts={n_starts}: expected both >= 1"):
        tuned_gd_plus_plus(UNIFORM, n_steps, n_starts=n_starts)
