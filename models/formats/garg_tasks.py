"""Which of our tasks a config of Garg et al.'s code describes."""

from typing import Any

from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import TwoLevel
from mesascope.models.tasks import (
    DecisionTree,
    LinearClassification,
    LinearRegression,
    QuadraticRegression,
    Regression,
    ReluNetwork,
    SparseLinearRegression,
)

# Their names, our class, and for each of their options our field and their default.
_SCALE = {"scale": ("w_std", 1.0)}
_TASKS: dict[str, tuple[type[Regression], dict[str, tuple[str, Any]]]] = {
    "linear_regression": (LinearRegression, _SCALE),
    "noisy_linear_regression": (LinearRegression, _SCALE | {"noise_std": ("noise_std", 0.0)}),
    "sparse_linear_regression": (SparseLinearRegression, _SCALE | {"sparsity": ("sparsity", 3)}),
    "quadratic_regression": (QuadraticRegression, _SCALE),
    "relu_2nn_regression": (ReluNetwork, _SCALE | {"hidden_layer_size": ("width", 4)}),
    "decision_tree": (DecisionTree, {"depth": ("depth", 4)}),
    "linear_classification": (LinearClassification, _SCALE),
}
# "skew" is Fu et al.'s: the map of x has eigenvalues 10 and 1, so its covariance 100 and 1, scaled to trace n_dims.
_INPUTS = {"gaussian": Gaussian(), "skew": Gaussian(spectrum=TwoLevel(ratio=100.0))}


def task_of(training: dict[str, Any], n_dims: int) -> Regression:
    """The task at the end of the curriculum.

    Raises:
        MesascopeError: It is none of ours.
        KeyError, TypeError, AttributeError, ValidationError: The config lacks a field or has it ill-typed.
    """
    name, data = str(training["task"]), str(training.get("data", "gaussian"))
    if name not in _TASKS:
        raise MesascopeError(f"training.task={name!r} is no task here{nearest(name, _TASKS)}")
    if data not in _INPUTS:
        raise MesascopeError(f"training.data={data!r} is no input distribution here{nearest(data, _INPUTS)}")
    curriculum, options = training["curriculum"], dict(training.get("task_kwargs") or {})
    _refuse("training.curriculum.dims.end", (curriculum.get("dims") or {}).get("end", n_dims), n_dims)
    _refuse("training.data_kwargs", training.get("data_kwargs") or {}, {})
    _refuse("training.task_kwargs.renormalize_ys", bool(options.pop("renormalize_ys", False)), False)
    kind, fields = _TASKS[name]
    for option in options:
        if option not in fields:
            raise MesascopeError(
                f"training.task_kwargs.{option} is no option of {name}{nearest(str(option), fields)}; remove it if "
                "the model was trained without"
            )
    return kind(
        n_dims=n_dims,
        n_points=curriculum["points"]["end"],
        inputs=_INPUTS[data],
        **{ours: options.get(theirs, default) for theirs, (ours, default) in fields.items()},
    )


def _refuse(field: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise MesascopeError(
            f"{field}={got!r} is not supported; expected {expected!r}, as other prompts would be shown than those it "
            "was trained on. Change the config to look at the model with those all the same"
        )
