from pathlib import Path

import pytest
import torch

from mesascope.models import LinearRegression, MesascopeError, load
from mesascope.models.formats import checkpoints_of
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import TwoLevel
from mesascope.models.tasks import (
    DecisionTree,
    LinearClassification,
    QuadraticRegression,
    ReluNetwork,
    SparseLinearRegression,
)
from tests.models.formats.garg import N_DIMS, N_POSITIONS, TransformerModel, write_config, write_state

PROMPTS = LinearRegression(n_dims=N_DIMS, n_points=N_POSITIONS).sample(8, seed=0)
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def theirs():
    return TransformerModel()


@pytest.fixture
def folder(tmp_path, theirs):
    write_config(tmp_path)
    write_state(tmp_path, theirs.state_dict())
    return tmp_path


def assert_same_predictions(folder, theirs, prompts=PROMPTS):
    expected = theirs(prompts.xs, prompts.ys)
    assert expected.std() > 0.1
    # 1e-5: float32 through two layers, in another order of summation
    torch.testing.assert_close(load(folder).model(prompts.xs, prompts.ys), expected, atol=1e-5, rtol=1e-5)


def test_predictions_are_those_of_hugging_faces_gpt2(folder, theirs):
    assert_same_predictions(folder, theirs)


def test_shorter_prompts_are_predicted_the_same_too(folder, theirs):
    prompts = LinearRegression(n_dims=N_DIMS, n_points=4).sample(8, seed=0)
    assert_same_predictions(folder, theirs, prompts)


def test_hidden_states_are_those_of_hugging_faces_gpt2(folder, theirs):
    tokens = load(folder).model.cfg.tokens.tokens(PROMPTS.xs, PROMPTS.ys)
    with torch.no_grad():
        output = theirs._backbone(inputs_embeds=theirs._read_in(tokens), output_hidden_states=True)
    _, cache = load(folder).model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    for layer in range(2):
        torch.testing.assert_close(cache["resid_pre", layer], output.hidden_states[layer], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cache["ln_final.hook_normalized"], output.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_the_folder_says_what_it_says(folder):
    loaded = load(folder)
    assert loaded.task == LinearRegression(n_dims=N_DIMS, n_points=5)  # the end of the curriculum, not all positions
    assert loaded.model.cfg.n_points == N_POSITIONS
    assert (loaded.format, loaded.seed, loaded.w_std_known, loaded.source) == ("garg", None, False, str(folder))
    assert not loaded.model.training


def test_the_users_scale_of_w_is_taken(folder):
    assert load(folder, w_std=0.4).task == LinearRegression(n_dims=N_DIMS, n_points=5, w_std=0.4)
    assert not load(folder, w_std=0.4).w_std_known


def test_weights_saved_in_parallel_lose_their_prefix(folder, theirs):
    write_state(folder, {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()})
    assert_same_predictions(folder, theirs)


def test_mask_buffers_of_old_transformers_are_dropped_and_biases_are_not(folder, theirs):
    buffers = {
        f"_backbone.h.{layer}.attn.{name}": tensor
        for layer in range(2)
        for name, tensor in [("bias", torch.ones(1, 1, 12, 12).tril().bool()), ("masked_bias", torch.tensor(-1e4))]
    }
    write_state(folder, theirs.state_dict() | buffers)
    assert_same_predictions(folder, theirs)


def test_the_unused_token_table_may_be_absent(folder, theirs):
    write_state(folder, {name: t for name, t in theirs.state_dict().items() if "wte" not in name})
    assert_same_predictions(folder, theirs)


def test_without_state_the_newest_step_is_read(folder, theirs):
    (folder / "state.pt").unlink()
    newest = TransformerModel(seed=1)
    torch.save(theirs.state_dict(), folder / "model_9000.pt")
    torch.save(newest.state_dict(), folder / "model_10000.pt")  # newer, though first in the alphabet
    (folder / "model_best.pt").write_text("not a step")
    assert_same_predictions(folder, newest)


def test_state_goes_before_steps(folder, theirs):
    torch.save(TransformerModel(seed=1).state_dict(), folder / "model_10000.pt")
    assert_same_predictions(folder, theirs)


@pytest.mark.parametrize(
    "task, options, kind, expected",
    [
        ("linear_regression", None, LinearRegression, {}),
        ("noisy_linear_regression", None, LinearRegression, {}),  # their default is no noise
        ("noisy_linear_regression", {"noise_std": 0.5}, LinearRegression, {"noise_std": 0.5}),
        ("linear_regression", {"scale": 0.2}, LinearRegression, {"w_std": 0.2}),
        ("sparse_linear_regression", {}, SparseLinearRegression, {"sparsity": 3}),
        ("sparse_linear_regression", {"sparsity": 2, "scale": 2}, SparseLinearRegression, {"sparsity": 2, "w_std": 2}),
        ("relu_2nn_regression", {"hidden_layer_size": 100}, ReluNetwork, {"width": 100}),
        ("relu_2nn_regression", {}, ReluNetwork, {"width": 4}),  # the default of their class, not of their configs
        ("decision_tree", {"depth": 3}, DecisionTree, {"depth": 3}),
        ("quadratic_regression", {"scale": 0.2}, QuadraticRegression, {"w_std": 0.2}),
        ("linear_classification", {}, LinearClassification, {}),
    ],
)
def test_the_task_is_theirs(folder, task, options, kind, expected):
    write_config(folder, training={"task": task, "task_kwargs": options})
    assert load(folder).task == kind(n_dims=N_DIMS, n_points=5, **expected)


def test_fus_skewed_inputs_have_condition_100(folder):
    write_config(folder, training={"data": "skew"})
    task = load(folder).task
    assert task == LinearRegression(n_dims=N_DIMS, n_points=5, inputs=Gaussian(spectrum=TwoLevel(ratio=100)))


def test_a_full_curriculum_ends_in_the_task(folder):
    stages = {"dims": {"start": 1, "end": N_DIMS, "inc": 1, "interval": 10}, "points": {"start": 2, "end": 6}}
    write_config(folder, training={"curriculum": stages})
    assert load(folder).task == LinearRegression(n_dims=N_DIMS, n_points=6)


def test_a_curriculum_that_stops_short_is_refused(folder):
    stages = {"dims": {"start": 1, "end": 2, "inc": 1, "interval": 10}, "points": {"start": 2, "end": 6}}
    write_config(folder, training={"curriculum": stages})
    with pytest.raises(MesascopeError, match=r"config.yaml: training.curriculum.dims.end=2 is not supported; exp.*3"):
        load(folder)


@pytest.mark.parametrize("used", [None, 2, 12])
def test_all_layers_in_use_is_the_whole_model(folder, theirs, used):
    write_config(folder, model={"use_first_n_layer": used})
    assert_same_predictions(folder, theirs)


def test_a_finite_pool_of_tasks_is_told(folder):
    assert load(folder).about == ""
    write_config(folder, training={"num_tasks": 64, "num_training_examples": 1000})
    assert "pool of 64 tasks and 1000 prompts; the task here draws fresh ones" in load(folder).about


def test_a_step_is_read_by_its_file_and_by_its_number(folder, theirs):
    for step in (9000, 10000):
        torch.save(TransformerModel(seed=step).state_dict(), folder / f"model_{step}.pt")
    (folder / "model_best.pt").write_text("not a step")
    assert checkpoints_of(folder) == [(9000, f"{folder}@step-9000"), (10000, f"{folder}@step-10000")]
    for step, address in checkpoints_of(folder):
        assert_same_predictions(address, TransformerModel(seed=step))
        assert_same_predictions(folder / f"model_{step}.pt", TransformerModel(seed=step))
        assert load(address).source == address
    assert_same_predictions(folder / "state.pt", theirs)


def test_an_untrained_twin_has_the_architecture_and_other_weights(folder):
    trained, twin = load(folder), load(f"{folder}@untrained-3")
    assert twin.model.cfg == trained.model.cfg and twin.seed == 3
    assert not torch.allclose(twin.model(PROMPTS.xs, PROMPTS.ys), trained.model(PROMPTS.xs, PROMPTS.ys))


def test_a_really_trained_checkpoint_predicts_what_its_own_class_predicted():
    reference = torch.load(DATA / "garg-d5" / "reference_predictions.pt", weights_only=True)
    loaded = load(DATA / "garg-d5")
    preds = loaded.model(reference["xs"], reference["ys"]).detach()
    torch.testing.assert_close(preds, reference["preds"], atol=1e-5, rtol=0)
    null = reference["ys"].square().mean()
    assert (preds[:, 8:] - reference["ys"][:, 8:]).square().mean() < 0.1 * null  # and it has learned the task
