"""What holds for every task."""

import typing
from dataclasses import replace

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from mesascope.models import LeastSquares, MesascopeError
from mesascope.models.inputs import Gaussian, Mixture, OneHot, RandomQuadrants, Uniform
from mesascope.models.learners import Averaging, FeatureLeastSquares, PrefixMatching, TwoLayerNet
from mesascope.models.spectra import LogUniform
from mesascope.models.tasks import (
    AnyTask,
    AssociativeRecall,
    DecisionTree,
    LinearClassification,
    LinearRegression,
    QuadraticRegression,
    Regression,
    ReluNetwork,
    RepeatedSequence,
    Sine,
    SparseLinearRegression,
    TokenSequence,
)
from mesascope.models.tasks.base import sampled_null_loss

MIXTURE = Mixture(components=(Gaussian(scale=0.5), Uniform(half_width=2)))
WIDE = Gaussian(spectrum=LogUniform(kappa=30))
TASKS = [
    LinearRegression(n_dims=3, inputs=OneHot(n_dims=3)),
    SparseLinearRegression(w_std=2.0, inputs=WIDE),
    SparseLinearRegression(sparsity=1, noise_std=0.5),
    QuadraticRegression(w_std=2.0),
    QuadraticRegression(noise_std=0.5, inputs=MIXTURE),
    QuadraticRegression(inputs=WIDE, n_dims=3),
    QuadraticRegression(inputs=Mixture(components=(WIDE, Uniform()))),
    ReluNetwork(w_std=0.5, inputs=WIDE),
    ReluNetwork(width=1, noise_std=0.5),
    DecisionTree(w_std=2.0),
    DecisionTree(depth=1, noise_std=0.5, inputs=RandomQuadrants()),
    LinearClassification(),
    LinearClassification(w_std=2.0, noise_std=1.0),
    Sine(),
    Sine(correlated=True, w_std=3.0, noise_std=0.3),
    Sine(amplitude=(1, 1), phase=(0.5, 0.5), inputs=Gaussian(scale=0.7)),
    Sine(amplitude=(0, 2), phase=(0, 1), inputs=MIXTURE, correlated=True),
    Sine(inputs=RandomQuadrants(base=Uniform(half_width=5))),
    RepeatedSequence(),
    RepeatedSequence(n_dims=3, period=1, n_points=4),
    AssociativeRecall(),
    AssociativeRecall(n_keys=2, n_values=3, n_dims=5, n_pairs=2, n_points=6),
]
RECALL = TASKS[-1]
every_task = pytest.mark.parametrize("task", TASKS, ids=repr)
CLASSES = [type(task) for task in {task.name: task for task in TASKS}.values()]
adapter: TypeAdapter[typing.Any] = TypeAdapter(AnyTask)


def test_the_list_of_these_tests_is_the_union():
    assert set(CLASSES) == set(typing.get_args(typing.get_args(AnyTask)[0]))


@every_task
@pytest.mark.parametrize("batch", [7, 100])
def test_a_prompt_depends_on_seed_and_index_not_on_batch_size(task, batch):
    whole = task.sample(150, seed=4)
    for start in range(0, 150, batch):
        part = task.sample(min(batch, 150 - start), seed=4, start=start)
        assert torch.equal(part.xs, whole.xs[start : start + batch])
        assert torch.equal(part.ys, whole.ys[start : start + batch])
    other = task.sample(150, seed=5)
    assert not torch.equal(other.xs, whole.xs) or not torch.equal(other.ys, whole.ys)


@every_task
def test_prompts_have_their_shapes_and_weights_only_where_the_function_is_linear(task):
    prompts = task.sample(3, seed=0, dtype=torch.float64)
    assert prompts.xs.shape == (3, task.n_points, task.n_dims) and prompts.ys.shape == (3, task.n_points)
    linear = isinstance(task, LinearRegression | SparseLinearRegression | LinearClassification)
    assert (prompts.w is not None) == linear
    drawn = task.draw(3, torch.Generator().manual_seed(0), task.n_dims)
    assert drawn.xs.dtype == drawn.ys.dtype == torch.float64


def zeros_for(task, ys):
    return torch.zeros_like(ys) if task.d_out == 1 else ys.new_zeros(*ys.shape, task.d_out)


@every_task
def test_the_null_loss_is_the_loss_of_predicting_zero_at_every_scored_point(task):
    ys = task.sample(2000, seed=1, dtype=torch.float64).ys
    losses = task.loss(zeros_for(task, ys), ys)
    assert losses.shape == ys.shape and (losses >= 0).all()
    points = list(task.scored(task.n_points))
    for part in (losses[:, points], losses[:, points[-1:]]):  # the query of a query suite is the last one
        per_prompt = part.mean(1)
        assert abs(per_prompt.mean() - task.null_loss) <= 4 * per_prompt.std() / 2000**0.5 + 1e-12


@pytest.mark.parametrize("task", [QuadraticRegression(n_points=4), LinearClassification(n_points=2), RECALL], ids=repr)
def test_a_sampled_null_loss_is_the_closed_form_and_the_same_every_time(task):
    assert sampled_null_loss(task) == pytest.approx(task.null_loss, rel=0.04)  # quadratic: standard error 1%
    assert sampled_null_loss(task) == sampled_null_loss(task.model_copy())


@every_task
def test_scored_and_late_points_exist(task):
    scored = task.scored(task.n_points)
    assert 0 < len(scored) <= task.n_points and scored[-1] < task.n_points
    assert 0 < task.late <= task.n_points and any(t >= task.late for t in scored)


@every_task
def test_a_task_survives_json_and_yaml(task):
    assert adapter.validate_json(task.model_dump_json()) == task
    assert adapter.validate_python(yaml.safe_load(yaml.safe_dump(task.model_dump(mode="json")))) == task


def test_an_unknown_task_is_told_the_known_ones():
    with pytest.raises(ValueError, match="'linear_regresion'.*'linear_regression'.*'sine'.*'associative_recall'"):
        adapter.validate_python({"name": "linear_regresion"})


@every_task
def test_its_references_predict_at_every_point(task):
    references = task.references()
    assert len({learner.label for learner in references}) == len(references) > 0
    assert references == task.references()
    prompts = task.sample(2, seed=0)
    for learner in references:
        if isinstance(learner, TwoLayerNet):
            learner = replace(learner, width=5, n_steps=2)
        preds = learner.predict(prompts)
        assert preds.shape == zeros_for(task, prompts.ys).shape
        assert task.loss(preds, prompts.ys.double()).isfinite().all()


LEARNABLE = [
    (LinearRegression(), 1e-9, FeatureLeastSquares("fourier")),
    (SparseLinearRegression(n_dims=20, n_points=16), 0.3, LeastSquares()),
    (QuadraticRegression(), 1e-9, LeastSquares()),
    (ReluNetwork(n_dims=2, n_points=12, width=10), 0.3, Averaging()),
    (DecisionTree(depth=2, n_dims=3), 0.5, LeastSquares()),
    (LinearClassification(n_dims=3, n_points=15), 0.6, FeatureLeastSquares("quadratic")),
    (Sine(), 1e-6, Averaging()),
    (RepeatedSequence(), 0.3, PrefixMatching(smoothing=1e6)),
    (AssociativeRecall(), 0.1, PrefixMatching(smoothing=1e6)),
]


def late_loss(task, learner, prompts):
    late = [t for t in task.scored(task.n_points) if t >= task.late]
    # Least squares at t ≈ d has no mean loss: no point counts for more than five times nothing.
    losses = task.loss(learner.predict(prompts), prompts.ys)[:, late].clamp(max=5 * task.null_loss)
    return losses.mean().item() / task.null_loss


@pytest.mark.parametrize("task, share, unrelated", LEARNABLE, ids=lambda value: getattr(value, "name", None))
def test_the_first_reference_learns_the_task_and_an_unrelated_learner_less_and_neither_learns_noise(
    task, share, unrelated
):
    best = task.references()[0]
    prompts = task.sample(40 if best.batched else 6, seed=2, dtype=torch.float64)
    assert late_loss(task, best, prompts) < share < late_loss(task, unrelated, prompts)
    rng = torch.Generator().manual_seed(0)
    shuffled = prompts.ys.flatten()[torch.randperm(prompts.ys.numel(), generator=rng)].view_as(prompts.ys)
    assert late_loss(task, best, replace(prompts, ys=shuffled)) > share


@pytest.mark.parametrize("task", [t for t in TASKS if isinstance(t, Regression) and t.n_dims > 1], ids=repr)
def test_inactive_coordinates_are_zero_and_y_comes_of_what_is_left(task):
    """As if the function had been evaluated on the truncated points; everything else is drawn as before."""
    whole = task.sample(64, seed=3, dtype=torch.float64)
    part = task.sample(64, seed=3, dtype=torch.float64, n_active=2)
    assert torch.equal(part.xs[..., :2], whole.xs[..., :2]) and (part.xs[..., 2:] == 0).all()
    quiet = task.model_copy(update={"noise_std": 0.0})
    rng = torch.Generator().manual_seed(9)
    function = quiet.function(64, torch.Generator().manual_seed(9))
    drawn = quiet.draw(64, rng, 2)
    values = function.evaluate(drawn.xs)
    torch.testing.assert_close(drawn.ys, values.sign() if isinstance(task, LinearClassification) else values)


@pytest.mark.parametrize("task", [t for t in TASKS if isinstance(t, TokenSequence)], ids=repr)
def test_tokens_cannot_be_held_at_zero(task):
    with pytest.raises(MesascopeError, match=f"n_active=2, but the {task.n_dims} coordinates of {task.name} are"):
        task.sample(3, seed=0, n_active=2)
    assert torch.equal(task.sample(3, seed=0, n_active=task.n_dims).xs, task.sample(3, seed=0).xs)


@pytest.mark.parametrize("task", [t for t in TASKS if isinstance(t, Regression)], ids=repr)
def test_w_std_scales_y_and_noise_comes_on_top(task):
    def ys(**changes):
        return task.model_copy(update={"noise_std": 0.0, **changes}).sample(64, seed=0, dtype=torch.float64).ys

    torch.testing.assert_close(ys(w_std=3.0), ys(w_std=1.0) * (3 if task.scales_with_w else 1))
    if task.scales_with_w:
        noise = ys(noise_std=0.5) - ys()
        assert abs(noise.std() - 0.5) < 4 * 0.5 / (2 * noise.numel()) ** 0.5


@pytest.mark.parametrize("task", [t for t in TASKS if isinstance(t, Regression)], ids=repr)
def test_a_mixture_of_inputs_is_listed_by_component(task):
    mixed = task.model_copy(update={"inputs": MIXTURE})
    assert [part.inputs for part in mixed.components().values()] == list(MIXTURE.components)
    assert all(type(part) is type(task) for part in mixed.components().values())


def test_a_task_of_tokens_is_its_own_component():
    task = AssociativeRecall()
    assert task.components() == {"associative recall": task}
