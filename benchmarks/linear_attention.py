"""Linear self-attention on its small form: ten seeds to the optimum, against training on tokens."""

from statistics import median

import torch
from row import Row
from timing import paired, seconds, timed

from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    Prompts,
    RegressorConfig,
    optimal_step,
    tuned_gd_plus_plus,
)
from mesascope.models.inputs import Uniform
from mesascope.models.training import GramTrainer, GramTraining
from mesascope.models.tuning import Contexts

TASK = LinearRegression(n_dims=10, n_points=11, inputs=Uniform(half_width=0.5))
"""d = n = 10 and r = 1, as von Oswald et al. (2023) train it."""
CONFIG = RegressorConfig.linear_self_attention(10, 11, 1)
DEEP_TASK = LinearRegression(n_dims=10, n_points=21, inputs=Uniform())
SEEDS = range(10)
ONE_LAYER = GramTraining(n_steps=1, n_starts=1, n_rounds=25)  # alternating least squares alone
TWO_LAYERS = GramTraining(n_steps=10, n_starts=2, n_average=1)
PUBLISHED_STEPS, TIMED_STEPS = 5000, 100


def linear_attention_rows() -> list[Row]:
    """Seconds, and how far the seeds are from the best gradient step, or from tuned GD++."""
    return [_one_layer(), _two_layers()]


def _one_layer() -> Row:
    trained: list[GramTrainer] = []
    scale = PUBLISHED_STEPS / TIMED_STEPS
    pairs = paired(
        lambda: trained.append(_train_grams(ONE_LAYER, CONFIG, TASK)), _train_tokens, n_pairs=3, scale=scale, warm_up=0
    )
    prompts = TASK.sample(65_536, seed=1, stream="held out")
    best = optimal_step(TASK)
    one_step = _one_step_loss(prompts, best.eta)
    assert abs(one_step / best.mse - 1) < 0.02, f"sampled loss {one_step} is far from the closed form {best.mse}"
    excess, ours = trained[-1].losses(prompts).max().item() / one_step - 1, median(pairs.ours)
    return Row(
        f"linear self-attention, {len(SEEDS)} seeds to the optimum / one seed on tokens",
        **pairs.text,
        target="≤ 5 s and excess ≤ 1%",
        reached=ours <= 5 and excess <= 0.01,
        notes=f"worst seed {excess:.2%} above the best gradient step on the same 65,536 prompts. Tokens: our "
        f"HookedRegressor on the published recipe (Adam 1e-3, batch 2048, {PUBLISHED_STEPS} steps), {TIMED_STEPS} "
        f"steps timed and multiplied by {scale:.0f}. The authors' JAX code needed 23 s to the end of the plateau "
        "for one seed on such a machine (not rerun)",
    )


def _two_layers() -> Row:
    cfg = RegressorConfig.linear_self_attention(DEEP_TASK.n_dims, DEEP_TASK.n_points, 2)
    elapsed, trainer = timed(lambda: _train_grams(TWO_LAYERS, cfg, DEEP_TASK))
    prompts = DEEP_TASK.sample(65_536, seed=1, stream="held out", dtype=torch.float64)
    rival = tuned_gd_plus_plus(DEEP_TASK, 2)
    reference = Contexts(DEEP_TASK, len(prompts), 1, "held out").loss_of(rival)
    ratios = [loss / reference for loss in trainer.losses(prompts).tolist()]
    close = sum(ratio <= 1.03 for ratio in ratios)
    return Row(
        f"linear self-attention, 2 layers, {len(SEEDS)} seeds",
        seconds(elapsed),
        "–",
        f"loss {min(ratios):.3f}-{max(ratios):.3f}× tuned GD++",
        target="≤ 60 s, 9 seeds ≤ 1.03×",
        reached=elapsed <= 60 and close >= 9,
        notes=f"d=10, 20 context points, x ~ U(−1,1); {rival.label}, tuned from 40 starts, on the same 65,536 prompts",
    )


def _train_grams(settings: GramTraining, cfg: RegressorConfig, task: LinearRegression) -> GramTrainer:
    trainer = GramTrainer(settings, cfg, task, SEEDS)
    for index in range(settings.n_steps):
        trainer.step(index)
    return trainer


def _one_step_loss(prompts: Prompts, eta: float) -> float:
    """That of a gradient step, the query marginalised."""
    assert prompts.w is not None
    xs, ys = prompts.xs[:, :-1], prompts.ys[:, :-1]
    error = eta * torch.einsum("bnd,bn->bd", xs, ys) / xs.shape[1] - prompts.w
    return TASK.inputs.mean_square * error.square().sum(-1).mean().item()


def _train_tokens() -> None:
    """Von Oswald et al. (2023), appendix A, as their code sets it: Adam, β2 = .98, clip 1e-3, init .002."""
    model = HookedRegressor(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, std=0.002, generator=torch.Generator().manual_seed(len(name)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    for index in range(TIMED_STEPS):
        prompts = TASK.sample(2048, seed=0, stream="train", start=2048 * index)
        loss = 0.5 * (model(prompts.xs, prompts.ys)[:, -1] - prompts.ys[:, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
