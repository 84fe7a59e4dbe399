import copy
import math
import shutil

import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, RepeatedSequence
from mesascope.models.training import TokenTraining
from mesascope.models.training.curriculum import Curriculum, Growth

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


def trainer_of(cfg=CFG, task=TASK, **settings):
    model = HookedRegressor(cfg, 0)
    return TokenTraining(**{"batch_size": 32, **settings}).start(model, task, seed=0)


@pytest.mark.parametrize("beta2", [0.98, 0.999])
def test_adam_has_every_weight_once_without_decay(beta2):
    trainer = trainer_of(optimizer="adam", lr=0.04, beta2=beta2)
    (adam,) = trainer.optimizers
    (group,) = adam.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in trainer.model.parameters()}
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.04, (0.9, beta2), 0.0)


def test_adams_first_step_is_the_learning_rate_against_the_sign_of_the_gradient():
    trainer = trainer_of(optimizer="adam", lr=1e-3, warmup=0, schedule="constant")
    before = {name: weight.clone() for name, weight in trainer.model.weights.items()}
    trainer.step(0)
    for name, parameter in trainer.model.named_parameters():
        clear = parameter.grad.abs() > 1e-4  # where Adam's eps = 1e-8 does not count
        expected = -1e-3 * parameter.grad.sign()
        torch.testing.assert_close((parameter - before[name])[clear], expected[clear], rtol=1e-2, atol=1e-6)


def test_muon_and_adamw_have_their_own_learning_rates():
    muon, adamw = trainer_of(lr=0.01, adamw_lr=0.005, beta2=0.9).optimizers
    assert (muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"]) == (0.01, 0.005)
    assert adamw.param_groups[0]["betas"] == (0.9, 0.9)


def test_a_model_that_is_all_matrices_has_no_adamw_and_one_without_any_has_no_muon():
    lsa = RegressorConfig.linear_self_attention(2, 5, 1)
    (muon,) = trainer_of(lsa).optimizers
    assert isinstance(muon, torch.optim.Muon)
    (adamw,) = trainer_of(lsa.model_copy(update={"attention": "gradient_step"}), adamw_lr=0.005).optimizers
    assert isinstance(adamw, torch.optim.AdamW) and adamw.param_groups[0]["lr"] == 0.005


def test_tied_matrices_are_given_to_muon_once():
    trainer = trainer_of(CFG.model_copy(update={"tied": True}))
    held = [p for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(trainer.model.parameters()))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_clipping_bounds_the_norm_of_the_gradient_and_keeps_its_direction(optimizer):
    gradients = {}
    for clip_norm in (None, 0.01, 1e6):
        trainer = trainer_of(optimizer=optimizer, clip_norm=clip_norm)
        trainer.step(0)
        gradients[clip_norm] = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    free, clipped, loose = gradients.values()
    assert free.norm() > 0.1 and torch.equal(loose, free)
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.cosine_similarity(clipped, free, dim=0).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "schedule, warmup, rates",
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("constant", 3, [0.25, 0.5, 0.75, 1]),
        ("cosine", 0, [0.01 + 0.99 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]),
    ],
)
def test_both_optimizers_follow_the_schedule(schedule, warmup, rates):
    trainer = trainer_of(n_steps=4, schedule=schedule, warmup=warmup, lr=0.02, adamw_lr=0.004)
    for index, rate in enumerate(rates):
        trainer.step(index)
        muon, adamw = (optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers)
        assert (muon, adamw) == (pytest.approx(0.02 * rate), pytest.approx(0.004 * rate))


def tokens_seen(trainer, indices):
    seen = []
    trainer.model.embed.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    for index in indices:
        trainer.step(index)
    return seen


def test_a_curriculum_holds_coordinates_at_zero_and_cuts_prompts_until_they_are_whole():
    task = LinearRegression(n_dims=3, n_points=6)
    cfg = CFG.model_copy(update={"n_dims": 3})
    curriculum = Curriculum(n_dims=Growth(start=1, every=10), n_points=Growth(start=2, step=3, every=10))
    seen = tokens_seen(trainer_of(cfg, task, curriculum=curriculum), (0, 9, 10, 20))
    assert [tokens.shape[1] for tokens in seen] == [4, 4, 10, 12]
    for tokens, n_active in zip(seen, (1, 1, 2, 3), strict=True):
        xs = tokens[:, ::2]
        assert (xs[..., :n_active] != 0).all() and (xs[..., n_active:] == 0).all()


def test_without_a_curriculum_prompts_are_whole_from_the_start():
    (tokens,) = tokens_seen(trainer_of(), (0,))
    assert tokens.shape == (32, 10, 2) and (tokens[:, ::2] != 0).all()


def test_a_curriculum_grows_up_to_the_extra_points():
    trainer = trainer_of(n_extra_points=2, curriculum=Curriculum(n_points=Growth(start=3, step=2, every=1)))
    assert [tokens.shape[1] for tokens in tokens_seen(trainer, range(4))] == [6, 10, 14, 14]


REPEATED = RepeatedSequence(n_dims=4, n_points=6, period=4)
INDUCTION = RegressorConfig(n_dims=4, n_points=6, n_layers=2, d_model=8, d_out=4, layout="sequence")


def test_only_scored_points_enter_the_loss():
    trainer = trainer_of(INDUCTION, REPEATED)
    prompts = REPEATED.sample(32, seed=0, stream="train")
    logits = trainer.model(prompts.xs, prompts.ys)
    expected = torch.nn.functional.cross_entropy(logits[:, 4:].flatten(0, 1), prompts.ys[:, 4:].flatten().long())
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), prompts.ys.flatten().long())
    assert trainer.step(0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert expected.item() != pytest.approx(whole.item(), rel=1e-3)


def test_points_that_are_not_scored_send_no_gradient():
    trainer, seen = trainer_of(INDUCTION, REPEATED), []
    trainer.model.unembed.register_full_backward_hook(lambda module, gin, gout: seen.append(gout[0]))
    trainer.step(0)
    assert (seen[0][:, :4] == 0).all() and (seen[0][:, 4:] != 0).any()


def test_a_model_that_reads_the_query_alone_is_trained_on_it():
    trainer = trainer_of(RegressorConfig.linear_self_attention(2, 5, 1))
    prompts = TASK.sample(32, seed=0, stream="train")
    expected = (trainer.model(prompts.xs, prompts.ys)[:, 0] - prompts.ys[:, -1]).square().mean()
    assert trainer.step(0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_prompts_without_a_scored_point_are_refused_before_the_first_step():
    curriculum = Curriculum(n_points=Growth(start=4, every=10))
    with pytest.raises(MesascopeError, match="4 points have none that the model reads and the task .* scores; raise"):
        trainer_of(INDUCTION, REPEATED, curriculum=curriculum)
    curriculum = Curriculum(n_points=Growth(start=5, every=10))
    assert trainer_of(INDUCTION, REPEATED, curriculum=curriculum).step(0).isfinite()


@pytest.mark.parametrize("cfg", [CFG, RegressorConfig(n_dims=2, n_points=8, n_layers=2, d_model=16, block="lstm")])
def test_bfloat16_is_close_to_float32_and_keeps_weights_and_gradients_in_float32(cfg):
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = trainer_of(cfg, precision=precision, optimizer="adam", lr=1e-3)
        losses[precision] = [trainer.step(index).item() for index in range(5)]
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in trainer.model.parameters())
    # bfloat16 has 8 bits: a loss of 160 points is off by well below a percent, but it is off.
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")),
    reason="torch.compile needs a C++ compiler, and neither g++, clang++ nor c++ is on the PATH",
)
def test_compiled_training_has_the_same_losses_and_hooks_still_work_on_the_model_itself(unchecked_shapes):
    losses = {}
    for compiled in (False, True):
        trainer = trainer_of(optimizer="adam", lr=1e-3, compile=compiled, batch_size=8)
        losses[compiled] = [trainer.step(index).item() for index in range(4)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    prompts = TASK.sample(8, seed=1)
    plain = trainer.model(prompts.xs, prompts.ys)
    preds, cache = trainer.model.run_with_cache(prompts.xs, prompts.ys)
    torch.testing.assert_close(preds, plain)
    assert cache["pattern", 0].shape == (8, 2, 10, 10)
    zero = [("blocks.1.hook_attn_out", lambda value, hook: torch.zeros_like(value))]
    assert not torch.allclose(trainer.model.run_with_hooks(prompts.xs, prompts.ys, fwd_hooks=zero), plain)
    assert not any(name.startswith("_orig_mod") for name in trainer.model.weights)


RESUMED = {
    "muon": (CFG, {}),
    "adam": (CFG, {"optimizer": "adam", "lr": 1e-3}),
    "tied": (CFG.model_copy(update={"tied": True}), {}),
    "lstm": (RegressorConfig(n_dims=2, n_points=8, n_layers=2, d_model=16, block="lstm"), {}),
}


@pytest.mark.parametrize("cfg, settings", RESUMED.values(), ids=RESUMED.keys())
def test_a_trainer_continues_from_its_state_to_the_same_bits(cfg, settings):
    whole, stopped = trainer_of(cfg, **settings), trainer_of(cfg, **settings)
    losses = [whole.step(index) for index in range(6)]
    for index in range(3):
        stopped.step(index)
    state = copy.deepcopy(stopped.state())
    resumed = TokenTraining(batch_size=32, **settings).start(HookedRegressor(cfg, seed=99), TASK, seed=0)
    resumed.restore(state)
    assert [resumed.step(index) for index in range(3, 6)] == losses[3:]
    assert all(torch.equal(weight, resumed.model.weights[name]) for name, weight in whole.model.weights.items())
