import pytest

from mesascope.models import HookedRegressor, MesascopeError, RegressorConfig
from mesascope.models.hooks import listened, resolve_hooks


@pytest.fixture(scope="module")
def model():
    return HookedRegressor(RegressorConfig(n_dims=2, n_points=3, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=8))


def test_names_come_once_and_in_the_models_order_whatever_the_order_of_patterns(model):
    found = resolve_hooks(model, ["blocks.1.hook_resid_post", "blocks.0.hook_resid_*", "*hook_resid_post"])
    assert sorted(found) == [*(f"blocks.0.hook_resid_{x}" for x in ("mid", "post", "pre")), "blocks.1.hook_resid_post"]
    assert found == sorted(found, key=list(model.hook_dict).index)


def test_a_single_pattern_a_list_and_a_predicate_mean_the_same(model):
    by_glob = resolve_hooks(model, "*hook_resid_post")
    assert by_glob == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert resolve_hooks(model, ["*0.hook_resid_post", "*1.hook_resid_post"]) == by_glob
    assert resolve_hooks(model, lambda name: name.endswith("resid_post")) == by_glob
    assert resolve_hooks(model, "*") == list(model.hook_dict)


def test_a_pattern_that_matches_nothing_suggests_the_nearest_name(model):
    with pytest.raises(MesascopeError, match=r"no hook is called 'blocks.0.hook_resid_pots'; did you mean 'blocks.0"):
        resolve_hooks(model, "blocks.0.hook_resid_pots")


def test_one_bad_pattern_among_good_ones_is_an_error(model):
    with pytest.raises(MesascopeError, match="hook_nothing"):
        resolve_hooks(model, ["*hook_resid_post", "hook_nothing"])


def test_a_predicate_that_accepts_nothing_is_an_error(model):
    with pytest.raises(MesascopeError, match="accepts none of the model's"):
        resolve_hooks(model, lambda name: False)


@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_plain_pytorch_hooks_count_as_listeners_until_removed(model, register):
    point = model.hook_dict["blocks.0.attn.hook_pattern"]
    assert not listened(point)
    handle = getattr(point, register)(lambda *args: None)
    assert listened(point)
    handle.remove()
    assert not listened(point)


@pytest.mark.parametrize("direction", ["fwd", "bwd"])
def test_transformer_lens_hooks_count_as_listeners_until_reset(model, direction):
    point = model.hook_dict["blocks.0.attn.hook_pattern"]
    point.add_hook(lambda value, hook: None, dir=direction)
    assert listened(point)
    model.reset_hooks()
    assert not listened(point)
