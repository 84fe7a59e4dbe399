import pytest
import torch

from mesascope.models import HookedRegressor
from mesascope.probes import component_means
from mesascope.probes.ablation import CleanRun, Knockout, attention_layers, reading, run_from
from tests.models.families import FAMILIES, prompts_of

HEADED = [name for name in FAMILIES if "lstm" not in name]


def specimen(family, n_prompts=4):
    cfg = FAMILIES[family]
    model, prompts = HookedRegressor(cfg, 1).double(), prompts_of(cfg, n_prompts)
    return model, prompts, CleanRun(model, prompts, component_means(model, prompts_of(cfg, 8).split(3)))


def hooked(model, prompts, layer, replace):
    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)]):
        return model(prompts.xs, prompts.ys)


@pytest.mark.parametrize("family", HEADED)
def test_a_model_runs_on_from_any_layer(family):
    model, prompts, run = specimen(family)
    for layer in range(model.cfg.n_layers):
        torch.testing.assert_close(run_from(model, run.resid(layer), layer, prompts.n_points), run.preds)


def test_an_lstm_has_no_layers_with_heads():
    assert attention_layers(HookedRegressor(FAMILIES["lstm"])) == []
    assert attention_layers(HookedRegressor(FAMILIES["sine"])) == [1]


def test_means_are_of_all_prompts_at_each_position():
    model, _, run = specimen("decoder")
    prompts = prompts_of(FAMILIES["decoder"], 8)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys, names_filter="*hook_z")
    for layer in (0, 1):
        torch.testing.assert_close(
            run.means[f"blocks.{layer}.attn.hook_z"], cache[f"blocks.{layer}.attn.hook_z"].mean(0)
        )


@pytest.mark.parametrize("kind", ["mean", "resample"])
@pytest.mark.parametrize("family", ["decoder", "two heads", "tied decoder", "induction"])
def test_a_head_that_is_knocked_out_is_replaced_everywhere(family, kind):
    model, prompts, run = specimen(family)

    def replace(z, hook):
        z = z.clone()
        z[:, :, 1] = run.means["blocks.0.attn.hook_z"][:, 1] if kind == "mean" else z[:, :, 1].roll(1, 0)
        return z

    found = run.without(Knockout(((0, 1),), kind))
    torch.testing.assert_close(found, hooked(model, prompts, 0, replace))
    assert not torch.allclose(found, run.preds)


def test_heads_of_several_layers_may_be_knocked_out_together():
    model, prompts, run = specimen("decoder")
    both = run.without(Knockout(((0, 0), (1, 1))))
    assert not torch.allclose(both, run.without(Knockout(((0, 0),))))
    assert not torch.allclose(both, run.without(Knockout(((1, 1),))))


def test_what_is_read_from_the_stream_is_what_the_heads_read():
    model, prompts, run = specimen("decoder")
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    for which in ("q", "k", "v"):
        own = reading(model.blocks[1], run.resid(1), which)
        torch.testing.assert_close(own, cache[f"blocks.1.attn.hook_{which}"])


@pytest.mark.parametrize("family", ["decoder", "separate", "damped and clipped", "induction"])
def test_a_change_that_all_heads_read_in_every_way_is_all_that_they_see(family):
    """With no MLP behind the writer and no read-out of what it writes, cutting every path cuts the head."""
    model, prompts, run = specimen(family)
    heads = tuple((1, head) for head in range(model.cfg.n_heads))
    everything = Knockout(((0, 0),), "mean", heads)
    own = run.changes(everything)[1]

    def replace(resid, hook):
        return resid + own

    # The same stream at the layer's input, but for what goes past it to the MLP and the read-out.
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", replace)]):
        _, changed = model.run_with_cache(prompts.xs, prompts.ys, names_filter="blocks.1.attn.hook_z")
    with model.hooks(fwd_hooks=run._edges(everything)):
        _, cut = model.run_with_cache(prompts.xs, prompts.ys, names_filter="blocks.1.attn.hook_z")
    torch.testing.assert_close(cut["blocks.1.attn.hook_z"], changed["blocks.1.attn.hook_z"])
    assert not torch.allclose(cut["blocks.1.attn.hook_z"], run.z(1))


def test_only_the_named_component_of_the_named_head_changes():
    model, prompts, run = specimen("decoder")
    cut = Knockout(((0, 0),), "mean", ((1, 1),), ("k",))
    _, own = model.run_with_cache(prompts.xs, prompts.ys)
    with model.hooks(fwd_hooks=run._edges(cut)):
        _, found = model.run_with_cache(prompts.xs, prompts.ys)
    for which in ("q", "v"):
        torch.testing.assert_close(found[f"blocks.1.attn.hook_{which}"], own[f"blocks.1.attn.hook_{which}"])
    torch.testing.assert_close(found["blocks.1.attn.hook_k"][:, :, 0], own["blocks.1.attn.hook_k"][:, :, 0])
    assert not torch.allclose(found["blocks.1.attn.hook_k"][:, :, 1], own["blocks.1.attn.hook_k"][:, :, 1])


def test_a_change_goes_through_the_mlps_in_between_and_past_other_heads():
    model, prompts, run = specimen("decoder")
    cut = Knockout(((0, 1),), "resample", ((1, 0),))
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)

    def replace(z, hook):
        z = z.clone()
        z[:, :, 1] = z[:, :, 1].roll(1, 0)
        return z

    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_z", replace)]):
        _, changed = model.run_with_cache(prompts.xs, prompts.ys, names_filter="blocks.1.hook_resid_pre")
    difference = changed["blocks.1.hook_resid_pre"] - cache["blocks.1.hook_resid_pre"]
    torch.testing.assert_close(run.changes(cut)[1], difference)
    assert not run.changes(cut)[0].any()


def test_a_path_into_a_layer_without_mlps_or_other_readers_is_the_whole_head():
    """In separate tokens layer 1 alone reads layer 0: what else it writes stands in slots that nobody reads."""
    from mesascope.models import copy_then_descend

    model = copy_then_descend(3, 6, 1.0, dtype=torch.float64)
    prompts = prompts_of(model.cfg, 5)
    run = CleanRun(model, prompts, component_means(model, [prompts_of(model.cfg, 9)]))
    whole, path = run.without(Knockout(((0, 0),))), run.without(Knockout(((0, 0),), "mean", ((1, 0),)))
    torch.testing.assert_close(whole, path)
    keys = run.without(Knockout(((0, 0),), "mean", ((1, 0),), ("k",)))
    torch.testing.assert_close(keys, path)  # x_i beside y_i is what the step's keys are
    values = run.without(Knockout(((0, 0),), "mean", ((1, 0),), ("v",)))
    torch.testing.assert_close(values, run.preds)  # y was there before
