"""Named families of tasks on which to try a model outside of what it was trained on."""

import math

from mesascope.models.errors import MesascopeError
from mesascope.models.inputs import (
    Gaussian,
    Inputs,
    OppositeQuadrants,
    OrthogonalQuery,
    OverlappingQuery,
    RandomQuadrants,
    Uniform,
    describe_inputs,
)
from mesascope.models.spectra import HalfSubspace, Skewed
from mesascope.models.tasks.linear_regression import LinearRegression

FACTORS = (1 / 3, 0.5, 2.0, 3.0)
"""By what x and y are scaled."""


def prompting_suites(task: LinearRegression) -> dict[str, LinearRegression]:
    """Garg's out-of-distribution prompts for linear regression, by name, the task itself first.

    | here | in Garg's code |
    |---|---|
    | standard | standard |
    | random_quadrants | random_quadrants |
    | opposite_quadrants | opposite_quadrants |
    | orthogonal_query | orthogonal_train_test |
    | overlapping_query | overlapping_train_test |
    | half_subspace | half_subspace |
    | skewed | skewed |
    | x_scale_0.333, 0.5, 2, 3 | scale-x=0.333, … |
    | y_scale_0.333, 0.5, 2, 3 | scale-y=0.333, … |
    | noisy | noisyLR |

    In the four query suites the *last* point is the one to score. Garg draws a new query for every prefix: to have its
    prompts of t examples, take `suite.model_copy(update={"n_points": t + 1})`.

    Departures: half_subspace and skewed have a basis for every prompt (its code: one for all), and are Gaussian even
    if the task's inputs are uniform. orthogonal_query has at most n_dims points, since more leave nothing orthogonal.
    noisy rescales y by its expected standard deviation (its code: by the batch's), so that y with noise as strong as
    one coordinate has the variance of y without; noise of the task's own is replaced.

    Raises:
        MesascopeError: The inputs are neither Gaussian nor uniform.

    Source: Garg et al. (2022), section 4 and its code.
    """
    base = task.inputs
    if not isinstance(base, Gaussian | Uniform):
        raise MesascopeError(f"prompting suites of {describe_inputs(base)}; expected Gaussian or uniform inputs")

    def on(inputs: Inputs, **changes: object) -> LinearRegression:
        return task.model_copy(update={"inputs": inputs, **changes})

    unit = math.sqrt(base.mean_square)
    kept = math.sqrt(task.n_dims / (task.n_dims + 1))
    return {
        "standard": task,
        "random_quadrants": on(RandomQuadrants(base=base)),
        "opposite_quadrants": on(OppositeQuadrants(base=base)),
        "orthogonal_query": on(OrthogonalQuery(base=base), n_points=min(task.n_points, task.n_dims)),
        "overlapping_query": on(OverlappingQuery(base=base)),
        "half_subspace": on(Gaussian(spectrum=HalfSubspace(), scale=unit)),
        "skewed": on(Gaussian(spectrum=Skewed(), scale=unit)),
        **{f"x_scale_{factor:.3g}": on(_scaled(base, factor)) for factor in FACTORS},
        **{f"y_scale_{factor:.3g}": on(base, w_std=task.w_std * factor) for factor in FACTORS},
        "noisy": on(base, w_std=task.w_std * kept, noise_std=task.w_std * unit * kept),
    }


def _scaled(inputs: Gaussian | Uniform, factor: float) -> Gaussian | Uniform:
    if isinstance(inputs, Gaussian):
        return inputs.model_copy(update={"scale": inputs.scale * factor})
    return inputs.model_copy(update={"half_width": inputs.half_width * factor})
