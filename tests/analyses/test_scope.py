from pathlib import Path

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.scope import BATCH, N_TWINS
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Newton,
    PrefixMatching,
    Prompts,
    RegressorConfig,
    RepeatedSequence,
    Sine,
)
from mesascope.models.formats import zoo_names
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import TwoLevel

from .conftest import GARG, WIDE, decoder


class Predicts:
    """A user's own object."""

    def __init__(self, preds: torch.Tensor):
        self.preds = preds

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return self.preds[: len(prompts)]


def test_a_run_folder_brings_its_model_and_its_task(tiny_run):
    for target in (tiny_run, str(tiny_run)):
        scope = attach(target)
        assert scope.source == str(tiny_run)
        assert scope.task == LinearRegression(n_dims=2, n_points=7)
        assert scope.checkpoint is not None and scope.checkpoint.w_std_known
        assert scope.hooked.cfg.n_layers == 1


def test_a_garg_folder_predicts_what_its_own_code_predicts():
    reference = torch.load(GARG / "reference_predictions.pt", weights_only=True)
    preds = attach(GARG).predict(Prompts(reference["xs"], reference["ys"]))
    torch.testing.assert_close(preds, reference["preds"].double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("w_std, expected, known", [(None, 1.0, False), (0.5, 0.5, False)])
def test_w_std_of_a_garg_folder_is_the_users_word(w_std, expected, known):
    scope = attach(GARG, w_std=w_std)
    assert scope.regression.w_std == expected
    assert scope.checkpoint is not None and scope.checkpoint.w_std_known is known


def test_w_std_overrules_what_a_run_folder_records(tiny_run):
    scope = attach(tiny_run, w_std=0.5)
    assert scope.regression.w_std == 0.5
    assert scope.checkpoint is not None and not scope.checkpoint.w_std_known


@pytest.mark.skipif(not zoo_names(), reason="the zoo is filled by `make zoo`")
def test_every_specimen_of_the_zoo_and_its_twin_can_be_attached():
    for name in zoo_names():
        trained, twin = attach(f"zoo:{name}"), attach(f"zoo:{name}@untrained")
        assert trained.source == f"zoo:{name}"
        assert trained.hooked.cfg == twin.hooked.cfg
        assert trained.task == twin.task
        prompts = trained.prompts(3, "any")
        assert not torch.allclose(trained.predict(prompts), twin.predict(prompts))


def test_a_hooked_model_is_looked_at_with_isotropic_prompts_of_its_size_unless_told_otherwise():
    model = decoder()
    assert attach(model).task == LinearRegression(n_dims=3, n_points=8)
    task = LinearRegression(n_dims=3, n_points=5, inputs=Gaussian(spectrum=TwoLevel()))
    assert attach(model, task=task).task == task
    assert attach(model).checkpoint is None


def test_attaching_leaves_a_model_as_it_is():
    model = decoder().train()
    assert attach(model).model is model and model.training


def test_a_scope_cannot_be_changed_under_what_it_remembers():
    with pytest.raises(AttributeError):
        attach(LeastSquares()).seed = 7  # type: ignore[misc]


@pytest.mark.parametrize("target", [LeastSquares(), decoder()])
def test_the_scale_of_w_reaches_the_task_whatever_is_attached(target):
    assert attach(target, w_std=0.3).regression.w_std == 0.3
    with pytest.raises(MesascopeError, match="w_std=-1.0 is no scale"):
        attach(target, w_std=-1.0)


def test_a_learner_class_is_not_a_learner():
    with pytest.raises(MesascopeError, match="cannot attach to type|cannot attach to ABCMeta"):
        attach(LeastSquares)  # type: ignore[arg-type]


def test_a_predictor_must_answer_with_a_tensor():
    class Lists:
        def predict(self, prompts):
            return prompts.ys.tolist()

    scope = attach(Lists())
    with pytest.raises(MesascopeError, match="predicted a list; return a torch tensor"):
        scope.predict(scope.prompts(2, "any"))


@pytest.mark.parametrize("learner", [LeastSquares(), Newton(3), GradientDescent(2, 0.1)])
def test_a_learner_predicts_through_a_scope_as_it_does_by_itself(learner):
    scope = attach(learner, task=WIDE)
    prompts = scope.prompts(30, "any")
    assert prompts.xs.dtype == torch.float64
    torch.testing.assert_close(scope.predict(prompts), learner.predict(prompts), rtol=1e-12, atol=1e-12)
    assert scope.source == repr(learner)
    assert scope.untrained == ()


def test_anything_with_predict_can_be_attached():
    scope = attach(Predicts(torch.ones(100, 20)))
    assert (scope.predict(scope.prompts(7, "any")) == torch.ones(7, 20)).all()
    assert scope.device == torch.device("cpu")


@pytest.mark.parametrize("target", [3, None, torch.nn.Linear(2, 1)])
def test_anything_else_is_refused(target, unchecked_shapes):
    with pytest.raises(MesascopeError, match=rf"cannot attach to {type(target).__name__}; expected a path, 'zoo:NAME'"):
        attach(target)


@pytest.mark.parametrize("target", ["no/such/folder", Path("no/such/folder")])
def test_a_path_that_is_not_there_is_refused(target):
    with pytest.raises(MesascopeError, match="no/such/folder does not exist; expected a run folder or zoo:NAME"):
        attach(target)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(MesascopeError, match=f"cannot use device '{device}'"):
        attach(decoder(), device=device)


def test_a_task_of_another_dimension_is_refused():
    with pytest.raises(MesascopeError, match="task has n_dims=5 but the model has n_dims=3"):
        attach(decoder(), task=LinearRegression(n_dims=5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_refused(bad):
    preds = torch.ones(10, 20)
    preds[3, 4] = bad
    scope = attach(Predicts(preds))
    with pytest.raises(MesascopeError, match="predicts NaN or infinity on 1 of 10 prompts"):
        scope.predict(scope.prompts(10, "any"))


def test_predictions_of_another_shape_are_refused(unchecked_shapes):
    scope = attach(Predicts(torch.ones(10, 19)))
    with pytest.raises(
        MesascopeError, match=r"shape \(10, 19\) for prompts of shape \(10, 20\); return one prediction"
    ):
        scope.predict(scope.prompts(10, "any"))


class Raises:
    """A user's module that meets what it was not made for."""

    def __init__(self, error: Exception):
        self.error = error

    def predict(self, prompts: Prompts) -> torch.Tensor:
        if prompts.n_points > 20:
            raise self.error
        return torch.zeros_like(prompts.ys)

    def __repr__(self) -> str:
        return "Module(\n  (layer): Linear\n)"


@pytest.mark.parametrize("error", [RuntimeError("mat1 and\nmat2"), KeyError("mat1 and\nmat2"), ZeroDivisionError()])
def test_an_exception_of_a_users_own_is_told_with_the_prompts_that_it_met(error):
    scope = attach(Raises(error))
    prompts = LinearRegression(n_points=40).sample(2, seed=0)
    with pytest.raises(MesascopeError) as refused:
        scope.predict(prompts)
    said = str(refused.value)
    assert said.startswith(
        f"Module( (layer): Linear ) failed on prompts of 40 points in 5 dimensions: {type(error).__name__}: "
    )
    assert said.endswith("(identify: shifts=False)") and "\n" not in said
    assert refused.value.__cause__ is error


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MesascopeError("no such prompts")])
def test_lack_of_memory_and_refusals_of_a_users_own_stay_what_they_are(error):
    scope = attach(Raises(error))
    with pytest.raises(type(error)) as raised:
        scope.predict(LinearRegression(n_points=40).sample(2, seed=0))
    assert raised.value is error


def test_a_predictor_sees_to_its_device_itself():
    assert attach(LeastSquares(), device="cpu").device == torch.device("cpu")
    for device in ("cuda:7", "nonsense"):
        with pytest.raises(MesascopeError, match=f"device='{device}' means nothing to <LeastSquares least squares>: a"):
            attach(LeastSquares(), device=device)


TOKENS = RepeatedSequence(n_dims=6, n_points=12, period=5)


def token_model() -> HookedRegressor:
    """A small untrained model of tokens."""
    cfg = RegressorConfig(n_dims=6, n_points=12, n_layers=1, n_heads=2, d_model=8, d_out=6, layout="sequence")
    return HookedRegressor(cfg)


@pytest.mark.parametrize("target", [token_model(), PrefixMatching()])
def test_a_scale_of_w_is_refused_where_it_means_nothing(target):
    with pytest.raises(MesascopeError, match="w_std=0.5 has no meaning for the task 'repeated_sequence'; leave it out"):
        attach(target, task=TOKENS, w_std=0.5)


def test_a_scope_knows_whether_its_task_is_a_regression():
    assert attach(LeastSquares(), task=Sine()).regression == Sine()
    with pytest.raises(MesascopeError, match="repeated_sequence is no regression task; readouts and learners need"):
        _ = attach(token_model(), task=TOKENS).regression


@pytest.mark.parametrize("target", [token_model(), PrefixMatching()])
def test_predictions_of_several_numbers_keep_their_axis(target):
    scope = attach(target, task=TOKENS)
    preds = scope.predict(scope.prompts(BATCH + 3, "any"))
    assert preds.shape == (BATCH + 3, 12, 6) and preds.dtype == torch.float64


def test_prompts_with_a_bad_logit_are_counted_once():
    preds = torch.ones(10, 12, 6)
    preds[3, 4, 1] = preds[3, 5, 2] = preds[7, 0, 0] = float("nan")
    scope = attach(Predicts(preds), task=TOKENS)
    with pytest.raises(MesascopeError, match="predicts NaN or infinity on 2 of 10 prompts"):
        scope.predict(scope.prompts(10, "any"))


def test_one_number_per_point_is_too_few_for_a_task_of_tokens():
    scope = attach(Predicts(torch.ones(10, 12)), task=TOKENS)
    with pytest.raises(MesascopeError, match=r"for prompts of shape \(2, 12\); return 6 numbers per point"):
        scope.predict(scope.prompts(2, "any"))


def test_a_task_of_other_predictions_is_refused():
    with pytest.raises(MesascopeError, match="task linear_regression has d_out=1 but the model has d_out=6; attach"):
        attach(token_model())
    with pytest.raises(MesascopeError, match="task repeated_sequence has d_out=3 but the model has d_out=1"):
        attach(decoder(), task=RepeatedSequence(n_dims=3, n_points=8, period=2))


def test_what_was_measured_once_is_not_measured_again():
    scope, calls = attach(decoder()), []
    for _ in range(3):
        assert scope.once(("thing", 1), lambda: calls.append(1) or len(calls)) == 1  # type: ignore[func-returns-value]
    assert scope.once(("thing", 2), lambda: 7) == 7
    assert len(calls) == 1


def test_a_falsy_value_is_also_remembered():
    scope = attach(decoder())
    assert scope.once(("nothing",), lambda: None) is None

    def never() -> None:
        raise AssertionError("made again")

    assert scope.once(("nothing",), never) is None


def test_reseeding_keeps_the_model_and_forgets_what_was_measured():
    scope = attach(decoder(), seed=3)
    scope.once(("thing",), lambda: 1)
    other = scope.reseeded(4)
    assert other.model is scope.model and other.seed == 4
    assert other.once(("thing",), lambda: 2) == 2
    assert scope.reseeded(None) is scope.reseeded(3) is scope
    assert not torch.equal(scope.prompts(4, "any").xs, other.prompts(4, "any").xs)


@pytest.mark.parametrize(
    "n_prompts, at_least, n_batches", [(BATCH, 1, 1), (130, 20, 20), (130, 130, 130), (2 * BATCH + 1, 2, 3)]
)
def test_prompts_do_not_depend_on_batches(n_prompts, at_least, n_batches):
    scope = attach(decoder())
    whole, parts = scope.prompts(n_prompts, "any"), list(scope.batches(n_prompts, "any", at_least))
    joined, sizes = Prompts.concat(parts), [len(part) for part in parts]
    assert torch.equal(whole.xs, joined.xs) and torch.equal(whole.ys, joined.ys)
    assert len(parts) == n_batches and max(sizes) - min(sizes) <= 1 and max(sizes) <= BATCH
    assert torch.equal(whole.xs, attach(decoder(7)).prompts(n_prompts, "any").xs)  # nor on the model


def test_streams_share_no_prompt():
    scope = attach(decoder())
    fit, score = scope.prompts(100, "fit").xs.flatten(1), scope.prompts(100, "score").xs.flatten(1)
    assert torch.cdist(fit, score).min() > 0.1


def test_predictions_do_not_depend_on_the_batch_they_come_in():
    scope = attach(decoder())
    prompts = scope.prompts(2 * BATCH + 100, "any")  # three forward passes
    preds = scope.predict(prompts)
    assert preds.dtype == torch.float64 and preds.shape == (len(prompts), 8) and not preds.requires_grad
    torch.testing.assert_close(preds[2 * BATCH :], scope.predict(prompts[2 * BATCH :]), atol=1e-5, rtol=1e-4)


def test_values_are_cut_to_the_points_a_model_reads(predicts_y):
    values = torch.arange(18.0).view(2, 9)
    assert attach(predicts_y).at_read_points(values).tolist() == [[8.0], [17.0]]
    assert torch.equal(attach(decoder()).at_read_points(values[:, :8]), values[:, :8])


def test_untrained_twin_has_the_architecture_and_prompts_but_other_weights():
    scope = attach(decoder())
    twin, other = scope.untrained[:2]
    assert len(scope.untrained) == N_TWINS and twin is scope.untrained[0]
    assert not torch.equal(twin.hooked.attentions[0].qkv_weight, other.hooked.attentions[0].qkv_weight)
    assert twin.hooked.cfg == scope.hooked.cfg and twin.task == scope.task and twin.seed == scope.seed
    assert not torch.equal(twin.hooked.attentions[0].qkv_weight, scope.hooked.attentions[0].qkv_weight)
    again = attach(decoder()).untrained[0]
    assert torch.equal(twin.hooked.attentions[0].qkv_weight, again.hooked.attentions[0].qkv_weight)


def test_a_predictor_has_no_hooked_model():
    with pytest.raises(MesascopeError, match="<LeastSquares least squares> has no layers to probe"):
        _ = attach(LeastSquares()).hooked


def test_a_scope_is_a_line():
    bare, hooked = attach(LeastSquares(), seed=3), attach(decoder())
    hooked.predict(hooked.prompts(3, "any"))
    assert repr(bare) == (
        "<Scope <LeastSquares least squares>: a predictor, linear_regression with n_dims=5 and n_points=20, seed 3>"
    )
    assert repr(hooked) == "<Scope a hooked model: n_layers=2, linear_regression with n_dims=3 and n_points=8, seed 0>"
