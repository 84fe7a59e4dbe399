"""Iterates at the step counts that are asked for."""

from collections.abc import Iterator, Sequence
from itertools import islice

from torch import Tensor


def at_steps(iterates: Iterator[Tensor], steps: Sequence[int]) -> Iterator[Tensor]:
    """Those of the iterates number 0, 1, 2, … that are asked for, each computed once.

    Args:
        iterates: From number 0 on, at least as many as the largest step count.
        steps: Step counts, ascending; one may stand there twice.
    """
    done = -1
    for k in steps:
        if k > done:
            current = next(islice(iterates, k - done - 1, None))
            done = k
        yield current
