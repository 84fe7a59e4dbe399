import json

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.side_checks.feature_steps import STEPS, best_eta, predictor
from mesascope.analyses.side_checks.learned_features import compare_on_features
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    MesascopeError,
    Sine,
    optimal_step,
    preconditioned_gradient_descent,
)
from tests.models.families import FAMILIES, changed

from .specimens import TASK, D, step

SINE = Sine(n_points=6)
PROMPTS = SINE.sample(300, seed=0, dtype=D)
ETA = "blocks.1.attn.eta"
AS_THEY_ARE, FROM_THE_START, PRECONDITIONED = ("tokens as they are", "from the start", "preconditioned")


def frozen(eta=0.5, seed=0, **fields):
    """A network whose attention is a gradient step on features that nobody trained."""
    model = HookedRegressor(changed(FAMILIES["sine-gd"], **fields), seed).to(D)
    with torch.no_grad():
        model.get_parameter(ETA).fill_(eta)
    return model


def compared(model, task=SINE, twin=None, n_prompts=200):
    return compare_on_features(
        attach(model, task=task), twin and attach(twin, task=task), n_prompts=n_prompts, n_tune=400
    )


def step_of(result, name):
    return next(found for found in result.steps if found.name == name)


def predict(model, name, eta, prompts=PROMPTS):
    with torch.no_grad():
        return predictor(model, STEPS[name][1], eta)(prompts)


@pytest.mark.parametrize("fields", [{}, {"layer_norm": True}, {"damping": 0.5}], ids=["plain", "norm", "damped"])
def test_a_frozen_step_on_tokens_is_what_the_frozen_twin_runs(fields):
    model = frozen(0.5, **fields)
    eta = 0.5 * fields.get("damping", 1.0)
    with torch.no_grad():
        expected = model(PROMPTS.xs, PROMPTS.ys)[:, -1]
    if "damping" in fields:  # the MLP is damped alike, in both
        assert expected.std() > 0
    torch.testing.assert_close(predict(model, AS_THEY_ARE, eta), expected)


def test_the_best_step_size_leaves_no_slope():
    model = frozen()
    eta = best_eta(model, STEPS[FROM_THE_START][1], PROMPTS)
    losses = [
        (predict(model, FROM_THE_START, eta + change) - PROMPTS.ys[:, -1]).square().mean()
        for change in (-0.01, 0.0, 0.01)
    ]
    assert losses[1] < min(losses[0], losses[2])
    assert losses[0].item() == pytest.approx(losses[2].item())


def test_a_frozen_model_with_the_best_step_size_is_its_step():
    scope = attach(frozen(), task=SINE)
    tuning = scope.prompts(400, "feature tuning")
    model = frozen(best_eta(frozen(), STEPS[AS_THEY_ARE][1], tuning))
    found = step_of(compared(model), AS_THEY_ARE)
    assert found.agreement.difference.value < 1e-9
    assert found.agreement.verdict == "the same"
    assert found.eta == pytest.approx(model.get_parameter(ETA).item())


def test_a_preconditioned_step_from_w0_is_read_as_one():
    A = torch.diag(torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=D))
    w0 = torch.tensor([0.3, -0.2, 0.1, 0.0])
    model = preconditioned_gradient_descent(13, A, w0=w0, dtype=D)
    prompts = TASK.sample(50, seed=0, dtype=D)
    with torch.no_grad():
        expected = model(prompts.xs, prompts.ys)[:, -1]
    torch.testing.assert_close(predict(model, PRECONDITIONED, 1.0, prompts), expected)
    result = compared(model, TASK)
    assert step_of(result, PRECONDITIONED).agreement.difference.value < 0.05  # η is the best one, not 1
    assert step_of(result, FROM_THE_START).agreement.difference.value > 0.2
    # φ(x) of a token (x, 0) is x, and its start is w0·x.
    explicit = torch.einsum(
        "bd,bnd,bn->b", prompts.xs[:, -1], prompts.xs[:, :-1], (prompts.ys - prompts.xs @ w0.to(D))[:, :-1]
    )
    torch.testing.assert_close(predict(model, FROM_THE_START, 12.0, prompts), prompts.xs[:, -1] @ w0.to(D) + explicit)


def test_a_step_on_x_itself_is_the_same_as_untrained():
    result = compared(step(optimal_step(TASK).eta), TASK, n_prompts=1000)
    verdicts = {claim.id: claim.verdict for claim in result.claims}
    assert verdicts["learned-features.from-the-start"] in ("the same, as untrained", "not alike", "undetermined")
    assert result.curves is None
    assert result.start.other_loss.value == 1  # it starts from zero
    assert [figure.id for figure in result.figures()] == ["learned-features-steps"]


def test_the_frozen_twin_stands_beside():
    result = compared(frozen(), twin=frozen())
    assert result.claims[0].id == "learned-features.frozen"
    assert result.claims[0].verdict == "the same"
    assert set(result.curves.preds) == {"model", *STEPS, "frozen twin"}
    torch.testing.assert_close(result.curves.preds["model"], result.curves.preds["frozen twin"])
    json.dumps(result.to_json(), allow_nan=False)
    assert [figure.id for figure in result.figures()] == ["learned-features-steps", "learned-features-curves"]


def test_curves_pass_through_the_predictions():
    model = frozen()
    result = compared(model)
    context, x = result.curves.context, result.curves.x
    asked = torch.cat([context.xs[:, :-1], x[30].expand(len(context), 1, 1)], dim=1)
    with torch.no_grad():
        expected = model(asked, context.ys)[:, -1]
    torch.testing.assert_close(result.curves.preds["model"][:, 30], expected)


def test_sine_waves_are_learned_by_a_step_that_starts_from_a_guess():
    result = compare_on_features(attach("zoo:sine"), attach("zoo:sine-gd"), n_prompts=1000, n_tune=1000)
    verdicts = {claim.id.removeprefix("learned-features."): claim.verdict for claim in result.claims}
    assert verdicts == {
        "frozen": "alike",
        "tokens-as-they-are": "not alike",
        "from-the-start": "not alike",
        "preconditioned": "alike",
    }
    plain, started, metric = (found.agreement.difference.value for found in result.steps)
    assert plain > 2 * started > 4 * metric


@pytest.mark.parametrize(
    ("name", "task"), [("decoder", None), ("lsa", None), ("separate", None), ("joint softmax", None)]
)
def test_models_that_take_no_single_step_are_refused(name, task):
    with pytest.raises(MesascopeError, match="no model whose only attention is linear"):
        compared(HookedRegressor(FAMILIES[name]), task)


def test_bare_predictors_are_refused():
    with pytest.raises(MesascopeError, match="has no layers"):
        compared(LeastSquares(), TASK)


@pytest.mark.parametrize(("n_prompts", "n_tune"), [(39, 40), (40, 39)])
def test_too_few_prompts_are_refused(n_prompts, n_tune):
    with pytest.raises(MesascopeError, match=f"n_prompts={n_prompts}, n_tune={n_tune}: expected at least 40"):
        compare_on_features(attach(step(), task=TASK), n_prompts=n_prompts, n_tune=n_tune)
