"""One layer of linear self-attention, ten seeds to the closed-form optimum, against training on tokens."""

import torch
from row import Row
from timing import paired

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig, optimal_step
from mesascope.models.inputs import Uniform
from mesascope.models.training import GramTrainer, GramTraining

TASK = LinearRegression(n_dims=10, n_points=11, inputs=Uniform(half_width=0.5))
"""d = n = 10 and r = 1, as von Oswald et al. (2023) train it."""
CONFIG = RegressorConfig.linear_self_attention(10, 11, 1)
SEEDS = range(10)
SETTINGS = GramTraining(n_steps=300, batch_size=64, lr=0.03)
PUBLISHED_STEPS, TIMED_STEPS = 5000, 100


def linear_attention_rows() -> list[Row]:
    """Seconds, and the worst seed's excess over the best gradient step."""
    trained: list[GramTrainer] = []
    scale = PUBLISHED_STEPS / TIMED_STEPS
    pairs = paired(lambda: trained.append(_train_grams()), _train_tokens, n_pairs=3, scale=scale, warm_up=0)
    excess, ours = _worst_excess(trained[-1]), sorted(pairs.ours)[1]
    return [
        Row(
            f"linear self-attention, {len(SEEDS)} seeds to the optimum / one seed on tokens",
            **pairs.text,
            target="≤ 5 s and excess ≤ 1%",
            reached=ours <= 5 and excess <= 0.01,
            notes=f"worst seed {excess:.2%} above the best gradient step on the same 65,536 prompts. Tokens: our "
            f"HookedRegressor on the published recipe (Adam 1e-3, batch 2048, {PUBLISHED_STEPS} steps), {TIMED_STEPS} "
            f"steps timed and multiplied by {scale:.0f}. The authors' JAX code needed 23 s to the end of the plateau "
            "for one seed on such a machine (not rerun)",
        )
    ]


def _train_grams() -> GramTrainer:
    trainer = GramTrainer(SETTINGS, CONFIG, TASK, SEEDS)
    for index in range(SETTINGS.n_steps):
        trainer.step(index)
    return trainer


@torch.no_grad()
def _worst_excess(trainer: GramTrainer) -> float:
    """Largest loss of a seed over that of the optimal step, less one, on common held-out prompts."""
    prompts = TASK.sample(65_536, seed=1, stream="held out")
    assert prompts.w is not None
    best = optimal_step(TASK)
    xs, ys = prompts.xs[:, :-1], prompts.ys[:, :-1]
    error = best.eta * torch.einsum("bnd,bn->bd", xs, ys) / xs.shape[1] - prompts.w
    one_step = TASK.inputs.mean_square * error.square().sum(-1).mean().item()
    assert abs(one_step / best.mse - 1) < 0.02, f"sampled loss {one_step} is far from the closed form {best.mse}"
    return trainer.losses(prompts).max().item() / one_step - 1


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
