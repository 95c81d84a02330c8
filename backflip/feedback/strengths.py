"""Bradley-Terry strengths of players from who beat whom, and how sure they are. numpy only.

It lies here, and not among the torch functions of maths, so that a consensus is reckoned where torch is not installed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backflip.errors import ConfigError, DataError

__all__ = ["bradley_terry_covariance", "bradley_terry_fit"]

Table = NDArray[np.float64]


def bradley_terry_fit(
    wins: NDArray[Any],  # (players, players), wins[i, j]: how often i beat j; a tie is half a win for each
    *,
    prior: float = 1.0,
    max_iterations: int = 200,
) -> Table:
    """Log-strengths of mean 0, (players,), with `P(i beats j) = sigmoid(s_i - s_j)`.

    The likelihood's maximum, where every player's expected wins are those seen, by damped Newton steps: the usual MM
    iteration (Hunter, Annals of Statistics 32, 2004) needs tens of thousands where one player nearly always wins.
    Every player is given `prior` more games, all tied, spread evenly over the others: one who always won stays finite.
    Elo points are `400 / log(10)` times these.

    Raises DataError if the table is not square, negative or infinite, or its strengths do not settle; ConfigError if
    the prior is not positive.
    """
    table = _with_prior(wins, prior)
    games, won = table + table.T, table.sum(axis=1)
    strength = np.zeros(len(table))
    for _ in range(max_iterations):
        p = _chances(strength)
        step = np.linalg.solve(_hessian(games, p), won - (games * p).sum(axis=1))
        step = step - step.mean()
        reach = float(step.max() - step.min())
        if reach < 1e-8:  # convergence is quadratic: the next step would be far below rounding
            return strength
        strength = strength + step * (math.log1p(reach) / reach)  # never overshoots (Bach, arXiv 0910.4627)
    raise DataError(
        f"strengths did not settle in {max_iterations} iterations; wanted counts less uneven: raise the prior"
    )


def bradley_terry_covariance(wins: NDArray[Any], strength: Table, *, prior: float = 1.0) -> Table:
    """Covariance of fitted strengths, (players, players), by the curvature of the likelihood there (Laplace).

    Strengths have mean 0, so that only differences have a variance of their own: `c[i, i] + c[j, j] - 2 c[i, j]`.
    """
    table = _with_prior(wins, prior)
    curved = _hessian(table + table.T, _chances(strength))
    centre = np.eye(len(table)) - 1 / len(table)
    return np.asarray(centre @ np.linalg.inv(curved) @ centre)


def _with_prior(wins: NDArray[Any], prior: float) -> Table:
    if prior <= 0:
        raise ConfigError(f"prior is {prior}; wanted above 0, or a player who never lost would be infinitely strong")
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or len(wins) < 2:
        raise DataError(f"wins has shape {tuple(wins.shape)}; wanted a square table of two or more players")
    if not bool(((wins >= 0) & np.isfinite(wins)).all()):
        raise DataError("wins has a negative, infinite or NaN count; wanted how often each player beat each other")
    table = wins.astype(np.float64) + prior / (2 * (len(wins) - 1))
    np.fill_diagonal(table, 0)
    return table


def _chances(strength: Table) -> Table:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * (strength[:, None] - strength))))  # a sigmoid that cannot overflow


def _hessian(games: Table, p: Table) -> Table:
    curvature = games * p * p.T
    # the Laplacian, which knows differences only, with a constant added to keep the mean at 0
    return np.asarray(np.diag(curvature.sum(axis=1)) - curvature + curvature.mean())
