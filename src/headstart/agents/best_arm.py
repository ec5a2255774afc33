"""The best arm, known from the start: an oracle, and the mark against which regret is measured.

a_t = argmax_a E[r | a]
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from headstart.agents._arms import arms_of
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class BestArmConfig:
    """There is nothing to set."""


def best_arm(spec: Spec, config: BestArmConfig) -> Agent:
    """The oracle, which is shown the arms' expected rewards (`timestep.obs.task.mean`).

    Raises:
      UsageError: if the spec is not a bandit's trial.
    """
    del config
    arms_of(spec, "best-arm")

    def act(state: Any, memory: Any, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Any, Array, Any]:
        del state, key
        return memory, jnp.argmax(timestep.obs.task.mean, axis=-1), ()

    return Agent(init=lambda _: (), memory=lambda _: (), act=act)


ENTRY = Entry(BestArmConfig(), best_arm, revealed=True)
"""The registry's line."""
