"""Uniformly random actions: the floor of every scale."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from headstart.types import Agent, Box, Discrete, Entry, MultiDiscrete, Spec, TimeStep


@dataclass(frozen=True)
class RandomConfig:
    """There is nothing to set."""


def random(spec: Spec, config: RandomConfig) -> Agent:
    """Uniform over the action space; over [-1, 1] where a continuous action has no bounds."""
    del config

    def act(state: Any, memory: Any, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Any, Array, Any]:
        del state
        n = timestep.first.shape[0]
        match spec.action:
            case Discrete(k):
                action = (jr.uniform(key, (n,)) * k).astype(jnp.int32)  # a quarter of randint's cost
            case MultiDiscrete(nvec):
                action = jr.randint(key, (n, len(nvec)), 0, jnp.array(nvec))
            case Box(shape, low, high):
                action = jr.uniform(key, (n, *shape), minval=max(low, -1.0), maxval=min(high, 1.0))
        return memory, action, ()

    return Agent(init=lambda _: (), memory=lambda _: (), act=act)


ENTRY = Entry(RandomConfig(), random)
