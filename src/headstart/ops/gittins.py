"""Gittins' index: what an arm is worth, learning included (Gittins, Glazebrook & Weber 2011, chapters 1, 8).

The index ν of an arm is the sure reward a step at which an agent that discounts by γ is indifferent
between taking it for ever and pulling the arm with the freedom to stop later. With W the value of that
freedom, scaled by 1-γ,

    Q(x, λ) = (1-γ) E[r | x] + γ E[W(x', λ) | x],    W(x, λ) = max(λ, Q(x, λ)),    ν(x) = λ where Q(x, λ) = λ.

Both tables come from backward induction over the posterior x, from where an arm counts as known.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from headstart.errors import UsageError

_TAIL = 1e-2  # γ^lookahead: the weight left to what lies beyond the horizon, where little is left to learn
_LEVELS = 801  # values of λ at which a Bernoulli arm is calibrated; the root between two is interpolated
_CHUNK = 50  # of them, calibrated together
_BAND = 6.0  # posterior deviations from a level within which an arm is in doubt
_REACH, _POINTS = 5.0, 601  # grid of a Gaussian arm's posterior mean, in posterior deviations
_NODES = 61  # points of the rule for the next posterior mean: even ones, since W's kink spoils Gauss-Hermite


def _lookahead(discount: float) -> int:
    if not 0.0 <= discount < 1.0:
        raise UsageError(f"a Gittins index discounts by at least 0 and less than 1, not {discount}.")
    return 1 if discount == 0.0 else math.ceil(math.log(_TAIL) / math.log(discount)) + 1


@lru_cache(maxsize=32)
def bernoulli_index(pulls: int, discount: float) -> Float[np.ndarray, "s f"]:
    """The index of a Bernoulli arm under the prior Beta(1, 1), by calibration.

    Args:
      pulls: the most pulls n an arm can have had.
      discount: γ in [0, 1).

    Returns:
      `[n+1, n+1]` indices by successes and failures; NaN where there are more than n in all.

    Raises:
      UsageError: for a discount outside [0, 1).

    >>> print(bernoulli_index(1, 0.9).round(3)[0])
    [0.703 0.5  ]
    """
    # Levels lie denser where posteriors are narrow, near 0 and 1.
    levels = np.sin(np.linspace(0.0, np.pi / 2, _LEVELS)) ** 2
    index = np.full((pulls + 1, pulls + 1), np.nan)
    for start in range(0, _LEVELS - 1, _CHUNK):
        _calibrate(index, levels[start : start + _CHUNK + 1], discount)
    return index


def _calibrate(index: Float[np.ndarray, "s f"], level: Float[np.ndarray, " L"], discount: float) -> None:
    """Write the indices that lie between the first and the last of a few neighbouring levels.

    Only arms whose mean is near these levels are in doubt: worse ones are stopped, V = λ, better ones are
    pulled for ever, V = E[r]. What is left of each diagonal of the posterior is a band, `low` to `high`.
    """
    pulls = len(index) - 1
    depth = pulls + _lookahead(discount)

    def band(made: int) -> tuple[int, int]:
        reach = _BAND * math.sqrt(made + 2) / 2
        low, high = (made + 2) * level[0] - reach, (made + 2) * level[-1] + reach
        return max(0, int(low) - 1), min(made + 1, int(high) + 1)

    value = np.maximum(level, ((np.arange(depth + 1) + 1.0) / (depth + 2.0))[:, None])  # [successes, λ]
    low, high = band(depth)
    for made in range(depth - 1, -1, -1):
        below, above, (low, high) = low, high, band(made)
        value[low:below] = level
        value[above : high + 1] = ((np.arange(above, high + 1) + 1.0) / (made + 3.0))[:, None]
        wins = np.arange(low, high)
        mean = ((wins + 1.0) / (made + 2.0))[:, None]
        won, lost = value[low + 1 : high + 1], value[low:high]
        pull = (1 - discount) * mean + discount * (lost + mean * (won - lost))
        if made <= pulls:
            gain = pull - level
            here = (gain[:, 0] > 0) & (gain[:, -1] <= 0)
            index[wins[here], made - wins[here]] = _root(gain[here], level)
        value[low:high] = np.maximum(level, pull)


def _root(gain: Float[np.ndarray, "m L"], level: Float[np.ndarray, " L"]) -> Float[np.ndarray, " m"]:
    """Where each row of `gain`, falling with the level, crosses zero."""
    row = np.arange(len(gain))
    left = np.minimum((gain > 0).sum(1), len(level) - 1) - 1
    g0, g1 = gain[row, left], gain[row, left + 1]
    return level[left] + (level[left + 1] - level[left]) * g0 / (g0 - g1)


@lru_cache(maxsize=32)
def gaussian_bonus(pulls: int, discount: float) -> Float[np.ndarray, " n"]:
    """What the index of a Gaussian arm adds to its posterior mean: unit noise, prior N(0, 1).

    Shifting all rewards shifts the index, so one induction at λ = 0 is enough: an arm pulled j times is
    as good as stopping where its posterior mean is -bonus[j].

    Args:
      pulls: the most pulls n an arm can have had.
      discount: γ in [0, 1).

    Returns:
      `[n+1]` bonuses by pulls.

    Raises:
      UsageError: for a discount outside [0, 1).

    >>> print(gaussian_bonus(1, 0.9).round(2))
    [0.75 0.47]
    """
    x = np.linspace(
        -_REACH, _REACH, _POINTS
    )  # posterior mean in units of its deviation 1/√p, where p = 1 + pulls
    node = np.linspace(-_REACH, _REACH, _NODES)
    weight = np.exp(-(node**2) / 2)
    weight /= weight.sum()
    depth = pulls + 1 + _lookahead(discount)
    bonus = np.zeros(pulls + 1)
    value = np.maximum(0.0, x) / math.sqrt(depth)
    for p in range(depth - 1, 0, -1):
        mean = x / math.sqrt(p)
        after = mean[:, None] + node / math.sqrt(p * (p + 1))  # posterior variance falls from 1/p to 1/(p+1)
        scaled = after * math.sqrt(p + 1)
        ahead = np.where(scaled > _REACH, after, np.interp(scaled, x, value)) @ weight
        pull = (1 - discount) * mean + discount * ahead
        if p <= pulls + 1:
            bonus[p - 1] = -np.interp(0.0, pull, mean)
        value = np.maximum(0.0, pull)
    return bonus
