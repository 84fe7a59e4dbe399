"""Of how many prompts the errors make one vector: where a model reads few points, one prompt's make no cosine."""

MIN_POINTS, MIN_UNIT = 5, 20
"""A model that reads fewer points than the first gets units of several prompts with at least the second's errors."""


def prompts_per_unit(n_points: int) -> int:
    """Prompts in one unit, for a model that reads so many points."""
    return 1 if n_points >= MIN_POINTS else -(-MIN_UNIT // n_points)
