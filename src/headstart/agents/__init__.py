"""Agents by name, one algorithm a file: `agent("ucb1", spec)`, `agent("ppo", spec, lr=1e-3)`."""

import dataclasses
from typing import Any

from headstart._registry import resolve
from headstart.errors import unknown
from headstart.types import Agent, Entry, Spec

REGISTRY: dict[str, str] = {
    "a2c": "headstart.agents.a2c:ENTRY",
    "actor-critic": "headstart.agents.actor_critic:ENTRY",
    "beb": "headstart.agents.beb:ENTRY",
    "best-arm": "headstart.agents.best_arm:ENTRY",
    "epsilon-greedy": "headstart.agents.epsilon_greedy:ENTRY",
    "gittins": "headstart.agents.gittins:ENTRY",
    "greedy": "headstart.agents.greedy:ENTRY",
    "jerk": "headstart.agents.jerk:ENTRY",
    "mdp-epsilon-greedy": "headstart.agents.mdp_epsilon_greedy:ENTRY",
    "mdp-greedy": "headstart.agents.mdp_greedy:ENTRY",
    "optimistic-psrl": "headstart.agents.optimistic_psrl:ENTRY",
    "optimistic-thompson": "headstart.agents.optimistic_thompson:ENTRY",
    "oracle": "headstart.agents.oracle:ENTRY",
    "ppo": "headstart.agents.ppo:ENTRY",
    "ppo-procgen": "headstart.agents.ppo:PROCGEN",
    "ppo-retro": "headstart.agents.ppo:RETRO",
    "psrl": "headstart.agents.psrl:ENTRY",
    "rainbow": "headstart.agents.rainbow:ENTRY",
    "rainbow-frugal": "headstart.agents.rainbow:FRUGAL",
    "random": "headstart.agents.random:ENTRY",
    "reinforce": "headstart.agents.reinforce:ENTRY",
    "rl2": "headstart.agents.ppo:RL2",
    "rl2-retro": "headstart.agents.ppo:RL2_RETRO",
    "thompson": "headstart.agents.thompson:ENTRY",
    "trpo": "headstart.agents.trpo:ENTRY",
    "ucb1": "headstart.agents.ucb1:ENTRY",
    "ucrl2": "headstart.agents.ucrl2:ENTRY",
}


def entry(name: str) -> Entry:
    """The registry entry of an agent: its default config and how to build it."""
    return resolve("agent", REGISTRY, name)


def configure(name: str, **chosen: Any) -> Any:
    """An agent's config with some fields changed.

    Raises:
      UsageError: for an unknown agent or field.
    """
    config = entry(name).config
    fields = [field.name for field in dataclasses.fields(config)]
    for field in chosen:
        if field not in fields:
            raise unknown(f"setting of agent {name}", field, fields)
    return dataclasses.replace(config, **chosen)


def agent(name: str, spec: Spec, **chosen: Any) -> Agent:
    """Build an agent for an environment's spec, with some fields of its config changed."""
    return entry(name).build(spec, configure(name, **chosen))


__all__ = ["REGISTRY", "agent", "configure", "entry"]
