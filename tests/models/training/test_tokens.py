import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig
from mesascope.models.training import TokenTraining

TASK = LinearRegression(n_dims=2, n_points=5)
CFG = RegressorConfig(n_dims=2, n_points=8, n_layers=2, n_heads=2, d_model=16, d_head=8, d_mlp=32)


def trained(n_steps, cfg=CFG, seed=0, **settings):
    model = HookedRegressor(cfg, seed)
    trainer = TokenTraining(n_steps=n_steps, **{"warmup": 5, "batch_size": 32, **settings}).start(model, TASK, seed)
    return model, [trainer.step(index) for index in range(n_steps)]


def test_training_lowers_the_loss_of_prompts_never_seen():
    def loss(model):
        prompts = TASK.sample(500, seed=9)
        return (model(prompts.xs, prompts.ys) - prompts.ys).square().mean().item()

    assert loss(trained(200)[0]) < 0.9 * loss(HookedRegressor(CFG, 0))


def test_linear_self_attention_trains_on_tokens_too():
    _, losses = trained(150, RegressorConfig.linear_self_attention(2, 5, 1), batch_size=128)
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_training_is_bitwise_reproducible_and_depends_on_the_seed():
    (first, losses), (second, same), (_, other) = trained(5), trained(5), trained(5, seed=1)
    assert losses == same != other
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_the_loss_is_the_mean_square_over_the_points_read():
    model = HookedRegressor(CFG)
    prompts = TASK.sample(32, seed=0, stream="train")
    expected = sum((model(prompts.xs, prompts.ys)[:, t] - prompts.ys[:, t]).square().mean() for t in range(5)) / 5
    loss = TokenTraining(batch_size=32).start(model, TASK, seed=0).step(0)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_each_step_sees_fresh_prompts():
    model, seen = HookedRegressor(CFG), []
    model.embed.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    trainer = TokenTraining(n_steps=3, batch_size=8).start(model, TASK, seed=0)
    for index in range(3):
        trainer.step(index)
    tokens = torch.cat(seen)
    assert tokens.shape == (24, 10, 2) and len(tokens.flatten(1).unique(dim=0)) == 24


@pytest.mark.parametrize("extra", [0, 3])
def test_extra_points_lengthen_the_training_prompts_alone(extra):
    model, seen = HookedRegressor(CFG), []
    model.embed.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    TokenTraining(n_extra_points=extra).start(model, TASK, seed=0).step(0)
    assert seen == [2 * (5 + extra)]


def test_muon_has_the_matrices_of_the_blocks_and_adamw_everything_else_once():
    model = HookedRegressor(CFG)
    muon, adamw = TokenTraining().start(model, TASK, seed=0).optimizers
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [[names[id(p)] for group in optimizer.param_groups for p in group["params"]] for optimizer in (muon, adamw)]
    assert sorted(held[0] + held[1]) == sorted(names.values())
    per_block = {"attn.qkv_weight", "attn.out_weight", "mlp.W_in", "mlp.W_out"}
    assert set(held[0]) == {f"blocks.{layer}.{name}" for layer in range(2) for name in per_block}


def test_every_parameter_is_trained():
    before = {name: p.detach().clone() for name, p in HookedRegressor(CFG, 0).named_parameters()}
    model, _ = trained(3)
    same = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert same == []
