"""The part of an agent's state that its `act` reads: small, where most of the state is replay or optimiser."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from headstart.types import Agent, AgentState, Memory, TimeStep


@dataclass(frozen=True)
class Sight:
    """An agent and the leaves of its state that its `act` reads."""

    agent: Agent
    tree: Any
    shapes: tuple[jax.ShapeDtypeStruct, ...]
    read: tuple[bool, ...]

    def leaves(self, state: AgentState) -> list[Array]:
        """The leaves that are read."""
        return [leaf for leaf, read in zip(jax.tree.leaves(state), self.read, strict=True) if read]

    def state(self, leaves: list[Array]) -> AgentState:
        """A state with these leaves and nothing in the others, which the compiler drops."""
        given = iter(leaves)
        both = zip(self.shapes, self.read, strict=True)
        whole = [next(given) if read else jnp.zeros(shape.shape, shape.dtype) for shape, read in both]
        return jax.tree.unflatten(self.tree, whole)


def sight_of(agent: Agent, state: AgentState, memory: Memory, timestep: TimeStep) -> Sight:
    """Which leaves of its state an agent's `act` reads, found by tracing it."""
    program = jax.make_jaxpr(agent.act)(state, memory, timestep, jr.key(0)).jaxpr
    leaves, tree = jax.tree.flatten(state)
    used = {id(v) for equation in program.eqns for v in equation.invars} | {id(v) for v in program.outvars}
    read = tuple(id(v) in used for v in program.invars[: len(leaves)])
    return Sight(agent, tree, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves), read)
