"""Bring an environment of your own: a corridor whose exit is left or right, the same for the whole trial.

An agent without memory of the trial can only guess; one that remembers needs a single episode to know.
"""

import os
from dataclasses import dataclass

import jax.numpy as jnp
import jax.random as jr

from headstart import agent
from headstart.envs.trial import Trial
from headstart.loops import jit
from headstart.tasks import Suite
from headstart.types import Discrete, Spec, Step


@dataclass(frozen=True)
class Corridor:
    """The task is the exit's side, 0 or 1; an episode is one choice."""

    spec = Spec(obs=(), action=Discrete(2), horizon=1)

    def reset(self, task, key):
        return ()

    def step(self, task, state, action, key):
        return state, Step((action == task).astype(jnp.float32), jnp.bool_(True), jnp.bool_(False))

    def observe(self, task, state):
        return ()

    def privileged(self, task, state):
        return None


suite = Suite(
    "corridor", Trial(Corridor(), episodes=5), sample=lambda key: jr.bernoulli(key).astype(jnp.int32)
)
learner = agent("rl2", suite.env.spec, unroll=20)
tasks = jnp.array([0, 1])
carry = jit.start(learner, suite.env, tasks, jr.key(0), 32)
for chunk in range(2 if "HEADSTART_SMOKE" in os.environ else 6):
    carry, log = jit.chunk(learner, suite.env, tasks, carry, jr.key(1), 20)
    mean = float(log.returns.sum()) / int(log.episodes.sum())
    print(f"after {20 * (chunk + 1)} updates: {mean:.2f} of 5 exits found (4.5 is the best there is)")
