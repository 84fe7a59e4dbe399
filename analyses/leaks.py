"""Whether a prediction at a point sees what it is to predict."""

from collections.abc import Callable
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from mesascope.models import MesascopeError, Prompts

N_LEAK = 16
"""Prompts on which it is tried whether predictions see the answer: four passes over as many."""


def refuse_leaks(
    predict: Callable[[Prompts], Float[Tensor, "batch n_read *d_out"]],
    prompts: Prompts,
    other: Float[Tensor, "batch n_points"],
    read: range,
    name: str,
) -> None:
    """Refuse a model whose predictions change when their own y, or later ones, are replaced.

    It is tried at the middle and at the last of the points that are read. A model that is random, or not quite the
    same from pass to pass, is judged by how far two passes over the same prompts are apart.

    Args:
        predict: Predictions at the points that are read.
        prompts: What they are made of.
        other: What y is replaced by, of y's own size.
        read: The points that are read.
        name: How the model is called.

    Raises:
        MesascopeError: A prediction depends on its own y or on later ones.
    """
    once, again = predict(prompts), predict(prompts)
    tolerance = (once - again).abs().max() + 1e-5 * prompts.ys.abs().max() + 1e-4 * once.abs()
    for t in dict.fromkeys((read[len(read) // 2], read[-1])):
        ys = prompts.ys.clone()
        ys[:, t:] = other[:, t:]
        seen = [index for index, point in enumerate(read) if point <= t]
        moved = (predict(replace(prompts, ys=ys)) - once).abs()
        if (moved > 10 * tolerance)[:, seen].any():
            raise MesascopeError(
                f"{name} predicts y at point {t} or before from the y of point {t} or later; a "
                "prediction at a point may see the points before it, and its own x"
            )
