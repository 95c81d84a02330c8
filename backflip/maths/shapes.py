"""What the formulas ask of their arguments: equal shapes (broadcasting hides mistakes) and padding on the right."""

from torch import Tensor

from backflip.errors import DataError

__all__ = ["require_right_padded", "require_same_shape"]


def require_same_shape(**tensors: Tensor | None) -> None:
    """Raises DataError, naming every tensor and its shape, unless all have one shape; None stands for "not given"."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
    if len(set(shapes.values())) > 1:
        seen = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(f"shapes differ: {seen}; wanted one shape for all: nothing is broadcast here")


def require_right_padded(mask: Tensor) -> None:  # (batch, response)
    """Raises DataError where a row of the mask has a valid token after padding."""
    valid = mask.bool()
    broken = (valid[:, 1:] & ~valid[:, :-1]).any(dim=1).nonzero()
    if len(broken):
        row = int(broken[0])
        raise DataError(
            f"mask row {row} has a valid token after padding; wanted padding on the right only: "
            "pass the response without the prompt's left padding"
        )
