import weakref
from collections.abc import Iterator

import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, Prompts, RegressorConfig
from mesascope.probes import capture

TASK = LinearRegression(n_dims=3, n_points=6)


@pytest.fixture
def decoder() -> HookedRegressor:
    return HookedRegressor(
        RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=16)
    ).eval()


@pytest.fixture
def lsa() -> HookedRegressor:
    return HookedRegressor(RegressorConfig.linear_self_attention(3, 6, 2)).eval()


def batches(n: int, size: int = 4) -> list[Prompts]:
    return list(TASK.sample(n * size, seed=0).split(size))


def n_hooks(model: HookedRegressor) -> int:
    return sum(len(point._forward_hooks) + len(point._backward_hooks) for point in model.hook_dict.values())


@pytest.mark.parametrize("kind", ["decoder", "lsa"])
def test_captured_activations_equal_those_of_run_with_cache(kind, request):
    model = request.getfixturevalue(kind)
    for prompts, batch in zip(batches(3), capture(model, batches(3), "*"), strict=True):
        preds, cache = model.run_with_cache(prompts.xs, prompts.ys)
        assert torch.equal(batch.prompts.xs, prompts.xs)
        torch.testing.assert_close(batch.preds, preds)
        assert list(batch.activations) == list(cache)
        for name, activation in batch.activations.items():
            torch.testing.assert_close(activation, cache[name])


@pytest.mark.parametrize("kind, positions", [("decoder", [0, 2, 4, 6, 8, 10]), ("lsa", [5])])
def test_read_only_keeps_the_positions_of_predictions(kind, positions, request):
    model = request.getfixturevalue(kind)
    whole = next(capture(model, batches(1), "blocks.1.hook_resid_post"))
    read = next(capture(model, batches(1), "blocks.1.hook_resid_post", read_only=True))
    all_positions = whole.activations["blocks.1.hook_resid_post"]
    assert torch.equal(read.activations["blocks.1.hook_resid_post"], all_positions[:, positions])
    assert read.preds.shape == (4, len(positions))


@pytest.mark.parametrize(
    "names",
    [
        "*hook_resid_post",
        ["blocks.1.hook_resid_post", "blocks.0.*_post", "blocks.0.hook_resid_post"],
        lambda name: name.endswith("hook_resid_post"),
    ],
    ids=["glob", "list", "predicate"],
)
def test_names_may_be_a_glob_a_list_or_a_predicate(decoder, names):
    found = list(next(capture(decoder, batches(1), names)).activations)
    wanted = ["blocks.0.mlp.hook_post", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    # In the order of the forward pass whatever the order asked for; the list's glob also means the MLP's hook_post.
    assert found == [name for name in wanted if "mlp" not in name or isinstance(names, list)]


@pytest.mark.parametrize(
    "names, complaint",
    [
        ("blocks.0.hook_resid_pst", "no hook is called 'blocks.0.hook_resid_pst'; did you mean 'blocks.0.hook_resid_p"),
        (["*hook_resid_post", "blocks.7.hook_mlp_out"], "no hook is called 'blocks.7.hook_mlp_out'; did you mean"),
        (lambda name: False, "the hook predicate accepts none"),
    ],
    ids=["name", "list", "predicate"],
)
def test_an_unknown_name_is_refused_before_anything_runs(decoder, names, complaint):
    def never() -> Iterator[Prompts]:
        raise AssertionError("a batch was asked for")
        yield

    with pytest.raises(MesascopeError, match=complaint):
        capture(decoder, never(), names)  # not iterated: the call itself refuses


def test_batches_are_asked_for_one_at_a_time(decoder):
    asked = 0

    def counted() -> Iterator[Prompts]:
        nonlocal asked
        for prompts in batches(5):
            asked += 1
            yield prompts

    stream = capture(decoder, counted(), "*hook_resid_post")
    assert asked == 0
    for served, _ in enumerate(stream, start=1):
        assert asked == served


def test_a_batch_is_gone_once_the_next_is_asked_for(decoder):
    earlier: list[weakref.ref[torch.Tensor]] = []

    stream = capture(decoder, batches(4), "*")
    for _ in range(4):
        batch = next(stream)
        assert all(reference() is None for reference in earlier)
        earlier = [weakref.ref(tensor) for tensor in batch.activations.values()]
        del batch


def test_gradients_are_off_inside_and_untouched_outside(decoder):
    for batch in capture(decoder, batches(2), "*hook_resid_post"):
        assert torch.is_grad_enabled()  # the generator's no_grad does not leak to its consumer
        assert not batch.preds.requires_grad
        assert not any(tensor.requires_grad for tensor in batch.activations.values())


def test_hooks_are_removed_when_the_consumer_stops_early(decoder):
    stream = capture(decoder, batches(3), "*")
    next(stream)
    assert n_hooks(decoder) == 0
    del stream
    assert n_hooks(decoder) == 0


def test_hooks_are_removed_when_the_model_refuses_a_batch(decoder):
    with pytest.raises(MesascopeError, match="n_dims=2"):
        list(capture(decoder, [LinearRegression(n_dims=2, n_points=6).sample(4, seed=0)], "*"))
    assert n_hooks(decoder) == 0


def test_hooks_of_the_user_stay_and_act(decoder):
    # An ablation set before the capture is seen by it and survives it.
    decoder.add_hook("blocks.1.hook_mlp_out", lambda tensor, hook: torch.zeros_like(tensor))
    names = ["blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"]
    mid, post = next(capture(decoder, batches(1), names)).activations.values()
    assert torch.equal(mid, post)
    assert n_hooks(decoder) == 1


def test_no_batches_give_nothing(decoder):
    assert list(capture(decoder, [], "*")) == []
