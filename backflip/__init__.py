"""Backflip: reinforcement learning from human feedback, whole."""

__version__ = "0.1.0"
__all__ = ["__version__"]
