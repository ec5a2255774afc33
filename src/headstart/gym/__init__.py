"""Every suite as a Gymnasium environment and vector environment, so that other libraries can train on it.

    import gymnasium
    import headstart.gym                                         # registers "headstart/<suite>"

    env = gymnasium.make("headstart/maze-small-v0", split="train", obs="rays")
    envs = gymnasium.make_vec("headstart/bandit-v0", num_envs=64, arms=10)

`gymnasium.make("headstart.gym:headstart/bandit-v0")` does both in one line. (Gymnasium 1.0 took away the
entry points by which a package could register itself without being imported.)

Each episode (each trial, for suites of trials) plays a task drawn uniformly from the split; `info["task"]` is
its index. Observations and actions are those of the suite, as Gymnasium spaces: named tuples and dicts become
`Dict`, what holds nothing is left out, and where an observation is nothing at all it is the one element of
`Discrete(1)`.
"""

import gymnasium

from headstart.gym.single import SuiteEnv
from headstart.gym.spaces import space_of, to_gymnasium
from headstart.gym.vector import SuiteVectorEnv
from headstart.suites import REGISTRY


def register() -> None:
    """Make every suite known to Gymnasium as "headstart/<suite>"; done once, on import."""
    for name in REGISTRY:
        if f"headstart/{name}" not in gymnasium.registry:
            gymnasium.register(
                f"headstart/{name}",
                entry_point="headstart.gym:SuiteEnv",
                vector_entry_point="headstart.gym:SuiteVectorEnv",
                kwargs={"suite": name},
            )


register()

__all__ = ["SuiteEnv", "SuiteVectorEnv", "register", "space_of", "to_gymnasium"]
