"""The learning-rate schedule that both trainers use."""

import math


def warmup_cosine(step: int | float, n_steps: int, warmup: int, final: float = 0.01) -> float:
    """Factor on the learning rate: linear over `warmup` steps, then a cosine from 1 to `final` at n_steps."""
    decay = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(step / n_steps, 1.0)))
    return min(1.0, (step + 1) / (warmup + 1)) * decay
