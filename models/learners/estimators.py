"""Learners that fit a scikit-learn estimator to every prefix of every prompt."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import Learner, Sweep
from mesascope.models.learners.lasso_path import LassoPath
from mesascope.models.prompts import Prompts

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


class EstimatorLearner(Learner):
    """A scikit-learn estimator, fitted anew to the examples before each point; O(batch · n_points) fits on the CPU.

    That is milliseconds for every point of every prompt: take tens of prompts, not thousands. Subclasses say which
    estimator; four lines make a learner of any other. A regressor's prediction is `predict`; a classifier's, on labels
    ±1, is the logit `decision_function`, and while all labels were the same log(t+1) with their sign, the logit of the
    rule of succession.
    """

    batched: ClassVar[bool] = False

    @abstractmethod
    def estimator(self) -> Any:
        """A new estimator that is not fitted; scikit-learn is imported here, since that takes a second."""

    def features(self, xs: Float[Tensor, "batch n_points n_dims"]) -> Float[Tensor, "batch n_points n_dims"]:
        """What the estimator sees of x: x itself unless the learner says otherwise."""
        return xs

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        from sklearn.base import is_classifier
        from sklearn.exceptions import ConvergenceWarning

        xs = self.features(prompts.xs.double()).cpu().numpy()
        ys = prompts.ys.double().cpu().numpy()
        fit_one = _logit if is_classifier(self.estimator()) else _prediction
        preds = np.zeros_like(ys)
        with warnings.catch_warnings():
            # The number of steps is part of the learner's definition, and a prefix of one point has no optimum.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for prompt, t in np.ndindex(*ys.shape):
                if t > 0:
                    preds[prompt, t] = fit_one(self.estimator(), xs[prompt, : t + 1], ys[prompt, :t])
        return torch.from_numpy(preds).to(prompts.ys.device)


def _prediction(estimator: Any, xs: np.ndarray, ys: np.ndarray) -> float:
    return float(estimator.fit(xs[:-1], ys).predict(xs[-1:])[0])


def _logit(estimator: Any, xs: np.ndarray, ys: np.ndarray) -> float:
    if (ys == ys[0]).all():  # scikit-learn refuses to fit one class
        return math.copysign(math.log(len(ys) + 1), ys[0])
    return float(estimator.fit(xs[:-1], ys).decision_function(xs[-1:])[0])


@dataclass(frozen=True, repr=False)
class Lasso(Learner):
    """w minimises ‖y − Xw‖²/(2t) + penalty·|w|₁.

    All penalties share one path per prompts, a millisecond or less per prefix: the first prediction on some prompts
    takes that long, those with other penalties next to nothing. `LassoPath` gives many at once. With few points its
    limit without penalty is the solution of smallest |w|₁, not that of smallest |w|₂.

    Args:
        penalty: Scikit-learn's alpha; it has the units of E x² times those of w.

    Source: Garg et al. (2022), section 5 (1e-4 to 1); Efron et al. (2004) for the path.
    """

    family: ClassVar[str] = "lasso"
    batched: ClassVar[bool] = False
    scalars: ClassVar[tuple[str, ...]] = ("penalty",)
    limits: ClassVar[tuple[str, ...]] = ("least squares",)
    penalty: float

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ValueError(f"Lasso(penalty={self.penalty}): expected penalty > 0; use LeastSquares for 0")

    @property
    def label(self) -> str:
        """The penalty."""
        return f"lasso r={self.penalty:.3g}"

    @property
    def strength(self) -> dict[str, float]:
        """The penalty."""
        return {"r": self.penalty}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """13 penalties, in units of E x_i² · w_std."""
        unit = task.inputs.mean_square * task.w_std
        return tuple(Sweep(cls(unit * r)) for r in torch.logspace(-3, 0, 13).tolist())

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        return self.predict_at(prompts, range(prompts.n_points))

    def predict_at(self, prompts: Prompts, points: Sequence[int]) -> Float[Tensor, "batch n_chosen"]:
        """Predictions at some points, float64; the others cost nothing."""
        return LassoPath.of(prompts, points).predict([self.penalty])[0].to(prompts.ys.device)


@dataclass(frozen=True, repr=False)
class GreedyTree(EstimatorLearner):
    """A regression tree grown greedily (CART), split after split.

    Args:
        max_depth: Depth at which it stops; None grows until every leaf is pure.
        on_signs: It sees sign(x) instead of x.

    Source: Garg et al. (2022), section 5.
    """

    family: ClassVar[str] = "greedy tree"
    max_depth: int | None = None
    on_signs: bool = False

    def __post_init__(self) -> None:
        if self.max_depth is not None and self.max_depth < 1:
            raise ValueError(f"GreedyTree(max_depth={self.max_depth}): expected max_depth >= 1 or None")

    @property
    def label(self) -> str:
        """Depth, and what it sees."""
        depth = "full" if self.max_depth is None else f"depth {self.max_depth}"
        return f"greedy tree, {depth}" + (", on signs" if self.on_signs else "")

    def features(self, xs: Float[Tensor, "batch n_points n_dims"]) -> Float[Tensor, "batch n_points n_dims"]:
        """The points, or their signs."""
        return xs.sign() if self.on_signs else xs

    def estimator(self) -> Any:
        """`sklearn.tree.DecisionTreeRegressor`; the seed decides between splits that are equally good."""
        import sklearn.tree

        return sklearn.tree.DecisionTreeRegressor(max_depth=self.max_depth, random_state=0)


@dataclass(frozen=True, repr=False)
class LogisticRegression(EstimatorLearner):
    """w minimises Σ log(1 + exp(−y w·x)) + |w|²/(2 prior_variance); the prediction is the logit w·x.

    The posterior mode under P(y=1) = σ(w·x), w ~ N(0, prior_variance I).

    Args:
        prior_variance: Scikit-learn's C.
    """

    family: ClassVar[str] = "logistic regression"
    prior_variance: float = 1.0

    def __post_init__(self) -> None:
        if not self.prior_variance > 0:
            raise ValueError(
                f"LogisticRegression(prior_variance={self.prior_variance}): expected prior_variance > 0; "
                "a large one regularises little"
            )

    @property
    def label(self) -> str:
        """The prior."""
        return f"logistic regression C={self.prior_variance:.3g}"

    def estimator(self) -> Any:
        """`sklearn.linear_model.LogisticRegression` without intercept."""
        import sklearn.linear_model

        return sklearn.linear_model.LogisticRegression(C=self.prior_variance, fit_intercept=False, max_iter=1000)


@dataclass(frozen=True, repr=False)
class TwoLayerNet(EstimatorLearner):
    """A ReLU network of one hidden layer, trained on the examples by Adam, all of them (up to 200) in every step.

    Args:
        width: Hidden units.
        n_steps: Steps of Adam.
        learning_rate: Its step size.

    Source: Garg et al. (2022), section 5 and its code (width 100, 100 steps of 5e-3); departures: scikit-learn's
    initialisation (Glorot) and its default weight decay of 1e-4.
    """

    family: ClassVar[str] = "two-layer net"
    width: int = 100
    n_steps: int = 100
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        if self.width < 1 or self.n_steps < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"TwoLayerNet(width={self.width}, n_steps={self.n_steps}, learning_rate={self.learning_rate}): "
                "expected width >= 1, n_steps >= 1 and learning_rate > 0"
            )

    @property
    def label(self) -> str:
        """Width, steps and step size."""
        return f"two-layer net, width {self.width}, k={self.n_steps} η={self.learning_rate:.3g}"

    def estimator(self) -> Any:
        """`sklearn.neural_network.MLPRegressor`, seeded, that never stops early."""
        import sklearn.neural_network

        return sklearn.neural_network.MLPRegressor(
            hidden_layer_sizes=(self.width,),
            learning_rate_init=self.learning_rate,
            max_iter=self.n_steps,
            n_iter_no_change=self.n_steps + 1,
            random_state=0,
        )
