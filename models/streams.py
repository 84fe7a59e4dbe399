"""Random numbers that depend on (seed, stream, index) alone, not on batch size or on what was drawn before."""

import torch
from transformer_lens.utilities.statistics import derive_generator

BLOCK = 64
"""Prompts are drawn in blocks of this many, each from a generator of its own."""


def generator(seed: int, *labels: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator keyed on a seed and any labels; the same labels give the same numbers on one kind of device."""
    derived = derive_generator(seed, *labels)
    if torch.device(device).type == "cpu":
        return derived
    return torch.Generator(device).manual_seed(derived.initial_seed())
