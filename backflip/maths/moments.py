"""Means and variances: masked ones, whitening, and the normalisation of rewards. Variances are the population's."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from backflip.errors import DataError, TrainingDiverged
from backflip.maths.shapes import require_same_shape

__all__ = ["GainAndBias", "RunningMoments", "gain_and_bias", "masked_mean", "masked_sum", "masked_var", "whiten"]


def masked_sum(x: Tensor, mask: Tensor, *, dim: int | None = None) -> Tensor:
    """Sum of `x` over the valid entries, of all dimensions or of one. Raises DataError if the shapes differ."""
    require_same_shape(x=x, mask=mask)
    return torch.where(mask.bool(), x, 0.0).sum(dim=dim)  # `where`, not `*`: a NaN under the mask stays there


def masked_mean(x: Tensor, mask: Tensor, *, dim: int | None = None) -> Tensor:
    """Mean of `x` over the valid entries; NaN where there is none."""
    return masked_sum(x, mask, dim=dim) / mask.bool().sum(dim=dim)


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Population variance (divided by n, as in A and C) of `x` over the valid entries; a scalar, NaN without any."""
    deviation = torch.where(mask.bool(), x - masked_mean(x, mask), 0.0)  # before the square, whose gradient reads it
    return masked_mean(deviation.square(), mask)


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """`(x - mean) * rsqrt(var + 1e-8)` over the valid entries, and 0 at padding (A, C).

    Advantages lose their mean; rewards keep it (`shift_mean=False`), for it says how good an episode is.
    """
    mean, var = masked_mean(x, mask), masked_var(x, mask)
    deviation = torch.where(mask.bool(), x - mean, 0.0)
    whitened = deviation * torch.rsqrt(var + 1e-8)
    return whitened if shift_mean else torch.where(mask.bool(), whitened + mean, 0.0)


@dataclass(frozen=True)
class RunningMoments:
    """Count, mean and sum of squared deviations of a stream of numbers, in double precision (Welford; Chan 1979).

    A value: `update` and `merge` return new moments, so that those of several ranks are merged in rank order. The
    state is a plain dict that JSON keeps exactly: `RunningMoments(**moments.state())` equals `moments`.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None = None) -> RunningMoments:
        """The moments of the (valid) entries of a tensor of any shape.

        Raises DataError if the shapes differ, TrainingDiverged if an entry is not finite: it would stay for ever.
        """
        require_same_shape(x=x, mask=mask)
        kept = (x if mask is None else x[mask.bool()]).detach().cpu().double()  # some devices have no double
        if not kept.numel():
            return cls()
        if not bool(kept.isfinite().all()):
            raise TrainingDiverged(
                f"{int((~kept.isfinite()).sum())} of {kept.numel()} numbers are NaN or infinite; wanted finite ones: "
                "go on from the last checkpoint"
            )
        mean = kept.mean()
        return cls(kept.numel(), float(mean), float((kept - mean).square().sum()))

    def merge(self, other: RunningMoments) -> RunningMoments:
        """The moments of both streams together."""
        count = self.count + other.count
        if count == 0:
            return self
        gap, share = other.mean - self.mean, other.count / count
        squares = self.squares + other.squares + gap * gap * self.count * share
        return RunningMoments(count, self.mean + gap * share, squares)

    def update(self, x: Tensor, mask: Tensor | None = None) -> RunningMoments:
        """The moments of the stream with the (valid) entries of `x` added."""
        return self.merge(RunningMoments.of(x, mask))

    @property
    def var(self) -> float:
        """Population variance; NaN before the first number."""
        return self.squares / self.count if self.count else math.nan

    @property
    def std(self) -> float:
        """Population standard deviation; NaN before the first number."""
        return math.sqrt(self.var)

    def normalise(self, x: Tensor, *, std: float = 1.0, shift_mean: bool = True) -> Tensor:
        """`x` scaled to the given standard deviation and, with `shift_mean`, to mean 0.

        H: deviation 1 for MuJoCo, 0.05 for Atari. Before the first number `x` is returned as it is.
        """
        if self.count == 0:
            return x
        return (x - self.mean if shift_mean else x) * (std / math.sqrt(self.var + 1e-8))

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return asdict(self)


class GainAndBias(NamedTuple):
    """An affine map of scores, `gain * score + bias`."""

    gain: float
    bias: float


def gain_and_bias(scores: Tensor, *, mean: float = 0.0, std: float = 1.0) -> GainAndBias:
    """The gain and bias that bring reference samples' scores (any shape) to the given mean and deviation (A).

    Raises DataError if there are no scores or all are equal (up to rounding): there is no scale to read then;
    TrainingDiverged if one is not finite.
    """
    seen = RunningMoments.of(scores)
    if not seen.count or seen.std <= 1e-9 * abs(seen.mean):
        raise DataError(
            f"cannot normalise {seen.count} scores of mean {seen.mean:.4g} and deviation {seen.std:.4g}; wanted "
            "scores that differ: score more reference samples, or look at what the reward model has learnt"
        )
    gain = std / seen.std
    return GainAndBias(gain, mean - gain * seen.mean)
