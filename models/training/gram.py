"""Training linear self-attention on its small form: layers join one by one, Levenberg-Marquardt moves them all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mesascope.models.architecture import RegressorConfig
from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator
from mesascope.models.tasks import LinearRegression, Task
from mesascope.models.training.new_layer import fit_new_layer
from mesascope.models.training.processes import Processes
from mesascope.models.training.small_form import (
    Maps,
    context_grams,
    jacobian,
    predicted_weights,
    write_products,
)
from mesascope.models.training.tail import Bank, Contexts

CHUNK = 2048
TRIALS = (0.03, 0.2, 1.0, 5.0, 50.0)
"""Dampings tried in a step, as multiples of the last one that was taken."""


class GramTraining(Config):
    """Grow layer by layer, then polish; every step draws fresh prompts.

    The loss is a nonlinear least-squares problem in a few hundred numbers. A layer joins by alternating least squares;
    then `joint_steps` of Levenberg-Marquardt move all layers. When the last has had its steps, the rest of `n_steps`
    polishes, on pools in which the rare contexts that decide the mean square are drawn often.

    A prompt counts s log(1 + e/s), e its squared error and s a multiple of the median of e: `clip` while layers join,
    rising to `polish_clip`, which is practically the mean square.
    """

    trainer: Literal["gram"] = "gram"
    n_steps: int = Field(14, ge=1)
    joint_steps: tuple[int, ...] = (0, 6, 10, 30)
    """Levenberg-Marquardt steps after layer 1, 2, … joined; further layers take the last number."""
    n_fit: int = Field(4096, ge=1)
    """Prompts on which a new layer is fitted."""
    n_starts: int = Field(3, ge=1)
    """Random starts of a new layer; the one with the lowest loss is kept."""
    n_rounds: int = Field(8, ge=1)
    """Rounds of alternating least squares."""
    batch_size: int = Field(1024, ge=1)
    """Prompts of a joint step; as many choose the damping, and at least 4096."""
    clip: float = Field(30.0, gt=0)
    polish_clip: float = Field(1e7, gt=0)
    polish_pool: int = Field(16_384, ge=100)
    """Fresh prompts from which a polishing step draws, and as many for its damping."""
    n_average: int = Field(6, ge=0)
    """Of the polishing steps, the last that shrink: the k-th of them goes 1/(1+k) of the way."""

    def start(self, model: HookedRegressor, task: Task, seed: int, processes: Processes | None = None) -> "GramTrainer":
        """A trainer for one seed that writes into `model`.

        Raises:
            MesascopeError: There are several processes.
        """
        if processes is not None and processes.world > 1:
            raise MesascopeError("trainer 'gram' takes seconds in one process; run it without torchrun")
        return GramTrainer(self, model.cfg, task, [seed], model)

    def place(self, index: int, n_layers: int) -> tuple[int, int]:
        """Layers in use at a step, and the step's place in that stage (0 joins a layer); n_layers+1 polishes."""
        for layer in range(n_layers):
            steps = self.joint_steps[min(layer, len(self.joint_steps) - 1)]
            if index <= steps:
                return layer + 1, index
            index -= 1 + steps
        return n_layers + 1, index


@dataclass
class Descent:
    """Where one seed stands."""

    maps: Maps
    banks: tuple[Bank, Bank]
    """Rare contexts seen while polishing: for the step, and for its damping."""
    damping: float = 0.1
    scale: float = 0.0
    """Median squared error at the last step."""


class GramTrainer:
    """Trains several seeds one beside the other; `sync` writes the first of them into the hooked model.

    Raises:
        MesascopeError: The architecture is not single-head linear self-attention on joint tokens with the query
            outside the keys, or the task is no linear regression with one covariance of x for all prompts: for these
            alone is the small form, or its marginalised loss, exact.
    """

    def __init__(
        self,
        settings: GramTraining,
        cfg: RegressorConfig,
        task: Task,
        seeds: Sequence[int],
        model: HookedRegressor | None = None,
    ):
        exact = RegressorConfig.linear_self_attention(cfg.n_dims, cfg.n_points, cfg.n_layers, tied=cfg.tied)
        if cfg.model_copy(update={"init_scale": exact.init_scale}) != exact:
            raise MesascopeError(
                "trainer 'gram' is exact only for single-head linear self-attention (joint tokens, slots, no mask, "
                f"norm, bias or MLP, d_head={exact.d_head}); train this architecture with trainer 'tokens'"
            )
        if not isinstance(task, LinearRegression):
            raise MesascopeError(f"trainer 'gram' needs linear regression, got {task.name}; use trainer 'tokens'")
        self.settings, self.task, self.model, self.cfg = settings, task, model, cfg
        self.device = torch.device("cpu") if model is None else next(model.parameters()).device
        self.covariance = task.inputs.covariance(task.n_dims).to(self.device)
        self.seeds = tuple(seeds)
        D = cfg.n_dims + 1
        zeros = torch.zeros(1 if cfg.tied else cfg.n_layers, 2, D, D, dtype=torch.float64, device=self.device)
        self.descents = [
            Descent(zeros.clone(), (Bank.empty(D, self.device), Bank.empty(D, self.device))) for _ in seeds
        ]

    @torch.no_grad()
    def step(self, index: int) -> Tensor:
        """One step of every seed; returns the mean of their losses on its fresh prompts, before the step."""
        return torch.stack([self._step(*pair, index) for pair in zip(self.seeds, self.descents, strict=True)]).mean()

    def _step(self, seed: int, at: Descent, index: int) -> Tensor:
        depth, place = self.settings.place(index, self.cfg.n_layers)
        if depth > self.cfg.n_layers:
            return self._polish(seed, at, index, place)
        return self._move(seed, at, index, depth) if place else self._join(seed, at, index, depth)

    def _join(self, seed: int, at: Descent, index: int, depth: int) -> Tensor:
        """Add a layer; tied layers stay the one they are."""
        batch = self._sample(seed, self.settings.n_fit, f"train {index} fit")
        if depth == 1 or not self.cfg.tied:
            at.maps[depth - 1] = fit_new_layer(
                at.maps[: depth - 1],
                batch.grams,
                batch.w,
                self.covariance,
                generator(seed, "new layer", depth),
                self.settings.n_starts,
                self.settings.n_rounds,
            )
        errors = self._errors(self._used(at.maps, depth), batch)
        at.damping, at.scale = 0.1, errors.median().item()
        return errors.mean() + self.task.noise_std**2

    def _move(self, seed: int, at: Descent, index: int, depth: int) -> Tensor:
        """Move the layers in use on fresh prompts, with a damping chosen on further ones."""
        size = self.settings.batch_size
        batch = self._sample(seed, size, f"train {index} move")
        other = self._sample(seed, max(4096, size // 2), f"train {index} damping")
        return self._descend(at, depth, batch, other, self.settings.clip, (1.0,))

    def _polish(self, seed: int, at: Descent, index: int, place: int) -> Tensor:
        """Move all layers on a pool of fresh prompts and the rare ones seen before."""
        settings, n_layers = self.settings, self.cfg.n_layers
        before = settings.n_steps - (index - place) - settings.n_average
        rise = min(1.0, place / max(1, before))
        clip = settings.clip * (settings.polish_clip / settings.clip) ** rise
        rate = 1 / (1 + max(0, place - max(0, before)))
        train, other = (
            bank.draw(pool.grams, pool.w, generator(seed, "tail", index, name))
            for bank, name in zip(at.banks, ("move", "damping"), strict=True)
            for pool in [self._sample(seed, settings.polish_pool, f"train {index} {name}")]
        )
        return self._descend(at, n_layers, train, other, clip, (rate, 0.4 * rate, 0.15 * rate))

    def _descend(
        self, at: Descent, depth: int, batch: Contexts, other: Contexts, clip: float, rates: tuple[float, ...]
    ) -> Tensor:
        """A Levenberg-Marquardt step on `batch`; its damping and length are the best on `other`, or none is taken."""
        clip = clip * at.scale
        gradient, H = self._normal_equations(at.maps, depth, batch, clip)
        errors = self._errors(self._used(at.maps, depth), other)
        best, chosen, damping = _clipped(errors, other, clip), at.maps, 10 * at.damping
        diagonal = H.diagonal() + 1e-9 * H.diagonal().mean()  # Marquardt's: whatever the scale of a weight
        for trial in TRIALS:
            factor, failed = torch.linalg.cholesky_ex(H + torch.diag(at.damping * trial * diagonal))
            if failed:
                continue
            update = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
            for rate in rates:
                moved = at.maps.clone()
                moved.view(-1)[: len(update)] -= rate * update
                loss = _clipped(self._errors(self._used(moved, depth), other), other, clip)
                if loss < best:
                    best, chosen, damping = loss, moved, at.damping * trial
        at.maps, at.damping, at.scale = chosen, min(max(damping, 1e-9), 1e4), _median(errors, other.importance)
        return (errors * other.importance).sum() / other.importance.sum() + self.task.noise_std**2

    def _normal_equations(
        self, maps: Float[Tensor, "n_maps 2 D D"], depth: int, batch: Contexts, clip: float
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
        """Jᵀr and JᵀJ; a prompt counts its importance over 1 + e/clip."""
        used = self._used(maps, depth)
        root = torch.linalg.cholesky(self.covariance)
        p = (1 if self.cfg.tied else depth) * used[0].numel()
        gradient = torch.zeros(p, dtype=maps.dtype, device=maps.device)
        H = torch.zeros(p, p, dtype=maps.dtype, device=maps.device)
        for part in _chunks(batch):
            r = (predicted_weights(used, part.grams) - part.w) @ root
            weight = (part.importance / (1 + r.square().sum(-1) / clip)).sqrt()
            J = jacobian(used, part.grams, root.T.expand(len(part), -1, -1))
            J = ((J.sum(2) if self.cfg.tied else J).flatten(2) * weight[:, None, None]).flatten(0, 1)
            H.addmm_(J.T, J)
            gradient += J.T @ (weight[:, None] * r).flatten()
        return gradient / len(batch), H / len(batch)

    def _errors(self, used: Maps, batch: Contexts) -> Float[Tensor, " batch"]:
        missed = torch.cat([predicted_weights(used, part.grams) - part.w for part in _chunks(batch)])
        return torch.einsum("bi,ij,bj->b", missed, self.covariance, missed)

    def _used(self, maps: Float[Tensor, "n_maps 2 D D"], depth: int) -> Float[Tensor, "{depth} 2 D D"]:
        """The maps of the first `depth` layers."""
        return maps.expand(depth, -1, -1, -1) if self.cfg.tied else maps[:depth]

    def _sample(self, seed: int, n_prompts: int, stream: str) -> Contexts:
        prompts = self.task.sample(n_prompts, seed=seed, stream=stream, device=self.device, dtype=torch.float64)
        assert prompts.w is not None
        return Contexts.plain(context_grams(prompts), prompts.w)

    @torch.no_grad()
    def losses(self, prompts: Prompts) -> Float[Tensor, " n_seeds"]:
        """Mean squared error of each seed with the query marginalised."""
        assert prompts.w is not None
        batch = Contexts.plain(context_grams(prompts.to(torch.float64)), prompts.w.double())
        every = [self._errors(self._used(at.maps, self.cfg.n_layers), batch).mean() for at in self.descents]
        return torch.stack(every) + self.task.noise_std**2

    @torch.no_grad()
    def sync(self) -> None:
        """Write the first seed's weights into the hooked model."""
        if self.model is None:
            raise ValueError("this trainer was given no model to write to; read `descents` instead")
        maps = self._used(self.descents[0].maps, self.cfg.n_layers)
        write_products(self.model, maps, n_context=self.task.n_points - 1)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"descents": [vars(at) | {"banks": [vars(bank) for bank in at.banks]} for at in self.descents]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        shapes = {tuple(at.maps.shape) for at in self.descents}
        if {tuple(saved["maps"].shape) for saved in state["descents"]} != shapes:
            raise ValueError("its weights are of another architecture")
        self.descents = []
        for saved in state["descents"]:
            moved = {**saved, "maps": saved["maps"].to(self.device)}
            banks = (Bank(b["grams"].to(self.device), b["w"].to(self.device), b["n_seen"]) for b in saved["banks"])
            self.descents.append(Descent(**moved | {"banks": tuple(banks)}))


def _clipped(errors: Float[Tensor, " batch"], batch: Contexts, clip: float) -> float:
    return (batch.importance * clip * torch.log1p(errors / clip)).mean().item()


def _median(errors: Float[Tensor, " batch"], importance: Float[Tensor, " batch"]) -> float:
    order = errors.argsort()
    half = torch.searchsorted(importance[order].cumsum(0), importance.sum() / 2)
    return errors[order[half]].item()


def _chunks(batch: Contexts) -> Iterator[Contexts]:
    return (batch[start : start + CHUNK] for start in range(0, len(batch), CHUNK))
