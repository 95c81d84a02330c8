"""Shapes are refused, not broadcast; padding on the left is refused where the last token matters."""

import pytest
import torch

from backflip.errors import DataError
from backflip.maths.shapes import require_right_padded, require_same_shape


def test_a_column_and_a_row_are_not_broadcast() -> None:
    with pytest.raises(DataError, match=r"better \(3, 1\), worse \(3,\)"):
        require_same_shape(better=torch.zeros(3, 1), worse=torch.zeros(3), target=None)


def test_right_padding_and_full_rows_pass_left_padding_and_holes_do_not() -> None:
    require_right_padded(torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]]))
    for row in ([0, 1, 1], [1, 0, 1]):
        with pytest.raises(DataError, match="row 1"):
            require_right_padded(torch.tensor([[1, 1, 1], row]))
