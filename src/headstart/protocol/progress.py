"""What a chunk of training came to: its figures, and whether they are still numbers."""

import math
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from headstart.errors import RunError
from headstart.loops import checkpoint, jit
from headstart.protocol import distributed


@dataclass(frozen=True)
class Progress:
    """What a chunk reports to whoever watches."""

    steps: int
    budget: int
    episode_return: float
    metrics: dict[str, float]


def summarise(log: jit.Log, spent: int, budget: int) -> Progress:
    """A chunk's log in a few figures."""
    log = jax.device_get(distributed.whole(log))
    episodes = int(log.episodes.sum())
    mean = float(log.returns.sum(dtype=np.float64)) / episodes if episodes else math.nan
    if not np.all(np.isfinite(log.returns)):
        mean = math.inf
    metrics = {name: float(np.mean(value)) for name, value in sorted(log.metrics.items())}
    return Progress(spent, budget, mean, metrics)


def refuse_non_finite(progress: Progress, carry: jit.Carry, run: Path | None) -> None:
    """Stop a run that went wrong, whose folder is `run`.

    Raises:
      RunError: if a reward, a metric or a weight is no longer finite.
    """
    bad = [name for name, value in progress.metrics.items() if not math.isfinite(value)]
    if math.isinf(progress.episode_return):
        bad.insert(0, "reward")
    weights = [np.asarray(x) for x in jax.tree.leaves(carry.agent) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not bad and not all(np.all(np.isfinite(x)) for x in weights):
        bad = ["weights"]
    if bad:
        saved = run is not None and checkpoint.latest(run / "checkpoints") is not None
        kept = f"; the last good checkpoint is kept in {run}" if saved else ""
        raise RunError(
            f"training stopped at step {progress.steps}: {', '.join(bad)} became infinite or not a number{kept}; "
            "try a smaller lr, or look for such rewards in the environment."
        )
