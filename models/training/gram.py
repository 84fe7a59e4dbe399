"""The exact small form of linear self-attention: training that never touches a token.

With keys and values from the context only, a linear layer sees the context through one matrix. On column vectors,
with E the context tokens (x_i, y_i) and G = EᵀE/n:

    M_l = W_PV,l G W_KQ,l        h ← (I + M_l) h        G ← (I + M_l) G (I + M_l)ᵀ
    Π = (I + M_L) … (I + M_1)    ŵ = −Π[last, :n_dims]

The prediction ŵ·x_q is linear in the query, so the query is marginalised exactly: loss = E (ŵ−w)ᵀ Σ (ŵ−w). A step
costs O(n_layers D³) a context, D = n_dims+1, whatever the number of points, and seeds ride in one batch dimension.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.inputs import Gaussian, Uniform, describe_inputs
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor, RegressorConfig
from mesascope.models.streams import generator
from mesascope.models.tasks import Task
from mesascope.models.training.schedule import warmup_cosine

Maps = Float[Tensor, "n_seeds n_layers D D"]


class GramTraining(Config):
    """Adam on the small form, growing layer by layer: layer l joins at step l·n_steps/n_layers, at zero output."""

    trainer: Literal["gram"] = "gram"
    n_steps: int = Field(2000, ge=1)
    batch_size: int = Field(512, ge=1)
    lr: float = Field(0.02, gt=0)
    warmup: int = Field(20, ge=0)
    init_std: float = Field(0.1, gt=0)

    def start(self, model: HookedRegressor, task: Task, seed: int) -> "GramTrainer":
        """A trainer for one seed that writes into `model`."""
        return GramTrainer(self, model.cfg, task, [seed], model)


def context_grams(prompts: Prompts) -> Float[Tensor, "batch D D"]:
    """G = EᵀE/n over the context (all points but the last)."""
    tokens = torch.cat([prompts.xs, prompts.ys[..., None]], dim=-1)[:, :-1]
    return tokens.mT @ tokens / tokens.shape[1]


def predicted_weights(
    W_PV: Maps, W_KQ: Maps, grams: Float[Tensor, "batch D D"]
) -> Float[Tensor, "n_seeds batch n_dims"]:
    """ŵ of every seed on every context."""
    n_layers, D = W_PV.shape[1], W_PV.shape[-1]
    eye = torch.eye(D, dtype=grams.dtype, device=grams.device)
    G = grams.expand(len(W_PV), -1, -1, -1)
    total: Tensor | None = None
    for layer in range(n_layers):
        step = eye + W_PV[:, layer, None] @ G @ W_KQ[:, layer, None]
        total = step if total is None else step @ total
        if layer < n_layers - 1:
            G = step @ G @ step.mT
    assert total is not None
    return -total[..., -1, :-1]


class GramTrainer:
    """Trains several seeds at once; `sync` writes the first of them into the hooked model.

    Raises:
        MesascopeError: The architecture is not single-head linear self-attention on joint tokens with the query
            outside the keys, or Σ of the inputs is not one multiple of I for all prompts: for these alone is the small
            form, or its marginalised loss, exact.
    """

    def __init__(
        self,
        settings: GramTraining,
        cfg: RegressorConfig,
        task: Task,
        seeds: Sequence[int],
        model: HookedRegressor | None = None,
    ):
        exact = RegressorConfig.linear_self_attention(cfg.n_dims, cfg.n_points, cfg.n_layers)
        if cfg != exact:
            raise MesascopeError(
                "trainer 'gram' is exact only for single-head linear self-attention (joint tokens, slots, no mask, "
                f"norm, bias or MLP, d_head={exact.d_head}); train this architecture with trainer 'tokens'"
            )
        if not isinstance(task.inputs, Uniform) and task.inputs != Gaussian():
            raise MesascopeError(
                "trainer 'gram' marginalises the query over isotropic Gaussian or uniform x, got "
                f"{describe_inputs(task.inputs)}; train on these inputs with trainer 'tokens'"
            )
        self.settings, self.task, self.model, self.n_layers = settings, task, model, cfg.n_layers
        device = "cpu" if model is None else next(model.parameters()).device
        D = cfg.n_dims + 1
        shape = (cfg.n_layers, D, D)
        draw = [torch.randn(2, *shape, generator=generator(seed, "gram")) for seed in seeds]
        weights = settings.init_std * torch.stack(draw, dim=1).to(device)
        weights[0, :, 1:] = 0  # a layer joins without a jolt; its W_KQ is random, so its W_PV has a gradient
        self.W_PV, self.W_KQ = weights[0].requires_grad_(), weights[1].requires_grad_()
        self.seed = seeds[0]
        self.optimizer = torch.optim.Adam([self.W_PV, self.W_KQ], lr=settings.lr, betas=(0.9, 0.98))

    def step(self, index: int) -> float:
        """One step; returns the mean loss over seeds."""
        stage, within = divmod(index * self.n_layers, self.settings.n_steps)
        stage_length = self.settings.n_steps / self.n_layers
        losses = self.losses(self._batch(index), n_layers=stage + 1)
        rate = warmup_cosine(within / self.n_layers, int(stage_length), self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * rate
        self.optimizer.zero_grad()
        # Seeds do not interact: Adam is elementwise, and the sum gives each seed its own gradient.
        losses.sum().backward()
        self.optimizer.step()
        return losses.mean().item()

    def _batch(self, index: int) -> Prompts:
        size = self.settings.batch_size
        return self.task.sample(size, seed=self.seed, stream="train", start=index * size, device=self.W_PV.device)

    def losses(self, prompts: Prompts, n_layers: int | None = None) -> Float[Tensor, " n_seeds"]:
        """Mean squared error of each seed with the query marginalised, using the first `n_layers` layers."""
        assert prompts.w is not None
        used = slice(0, n_layers or self.n_layers)
        error = predicted_weights(self.W_PV[:, used], self.W_KQ[:, used], context_grams(prompts)) - prompts.w
        return self.task.inputs.mean_square * error.square().sum(-1).mean(-1)

    @torch.no_grad()
    def sync(self) -> None:
        """Write the first seed's weights into the hooked model."""
        if self.model is None:
            raise ValueError("this trainer was given no model to write to; read W_PV and W_KQ instead")
        write_products(self.model, self.W_PV[0], self.W_KQ[0], n_context=self.task.n_points - 1)


@torch.no_grad()
def write_products(
    model: HookedRegressor, W_PV: Float[Tensor, "n_layers D D"], W_KQ: Float[Tensor, "n_layers D D"], n_context: int
) -> None:
    """Factor the small form's products into W_Q, W_K, W_V, W_O, each pair balanced by an SVD.

    The hooked model sums over the context where the small form averages, so 1/n_context goes into W_V W_O; its maps
    act on rows, hence the transposes: W_Q W_Kᵀ = W_KQᵀ and W_V W_O = W_PVᵀ/n_context.
    """
    for attention, PV, KQ in zip(model.attentions, W_PV, W_KQ, strict=True):
        for product, left, right in [
            (KQ.T, attention.W_Q[0], attention.W_K[0].T),
            (PV.T / n_context, attention.W_V[0], attention.W_O[0]),
        ]:
            U, S, Vh = torch.linalg.svd(product.double())
            left.copy_(U * S.sqrt())
            right.copy_(S.sqrt()[:, None] * Vh)
