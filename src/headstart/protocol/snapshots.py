"""Scores, as they play, of the priors that training kept along its way: on tasks it was trained on, and on valid ones."""

from pathlib import Path

import numpy as np

from headstart.protocol import priors
from headstart.protocol.evaluation import score
from headstart.tasks import Split, Suite


def scores(
    suite: Suite, trained: Split, folder: Path, tasks: int | None = None, task_seed: int = 0, seed: int = 0
) -> dict[str, list[float]]:
    """Mean scores along training; no test task is touched.

    Args:
      trained: the split that was trained on; of an endless one, or one of more tasks than are valid, as many as are valid.
      folder: of the priors, in files whose names sort by steps.
      tasks: how many valid tasks; None for a thousand, or all there are.
      task_seed: of the training set.
      seed: of all randomness in play, the same for every prior.

    Returns:
      `snapshot_steps`, `snapshot_train` and `snapshot_valid`, a number a prior.
    """
    valid = suite.split("valid", tasks)
    if trained.size is None or trained.size > (valid.size or 0):
        trained = suite.split(trained.role, valid.size, task_seed)
    every = [priors.load(path) for path in sorted(folder.glob("*.npz"))]
    found = {"snapshot_steps": [float(prior.steps) for prior in every]}
    for role, split in (("train", trained), ("valid", valid)):
        played = [score(suite, split, prior, seed).scores for prior in every]
        found[f"snapshot_{role}"] = [float(np.mean(one)) for one in played]
    return found


__all__ = ["scores"]
