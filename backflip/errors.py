"""The error tree: every error that Backflip raises on purpose, by what the reader can do about it.

A message says the value seen, the value wanted, and the next step. The command line prints the message alone and
exits with `exit_code`; any other exception is a bug and keeps its traceback.
"""

__all__ = [
    "BackflipError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DependencyError",
    "FeedbackError",
    "LabellingPaused",
    "ModelError",
    "OutOfSpace",
    "TrainingDiverged",
]


class BackflipError(Exception):
    """The root: catch this to catch all that Backflip raises on purpose."""

    exit_code = 1


class ConfigError(BackflipError):
    """A configuration names an unknown field or holds a value outside its range."""

    exit_code = 2


class DataError(BackflipError):
    """A file or record is malformed; the message names file, line and field."""


class FeedbackError(BackflipError):
    """The store refused a question or an answer (unknown candidate, expired lease, paused queue)."""


class LabellingPaused(BackflipError):
    """A person stopped labelling before all was answered: nothing is wrong, and the same command goes on."""

    exit_code = 3


class ModelError(BackflipError):
    """A model folder or tokenizer is missing or lacks what the stage needs."""


class CheckpointError(BackflipError):
    """A checkpoint is damaged, or belongs to another configuration."""


class TrainingDiverged(BackflipError):
    """A loss or score became NaN or infinite; the last good checkpoint stands."""


class DependencyError(BackflipError):
    """An optional package is not installed; the message names the extra that brings it."""


class OutOfSpace(BackflipError):
    """The disk is full; nothing half-written was left under a final name."""
