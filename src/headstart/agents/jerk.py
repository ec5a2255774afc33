"""JERK, "just enough retained knowledge" (Nichol et al. 2018, arXiv:1804.03720, and its released code): no network at all.

    at each episode's start, with probability 0.25 + t / total steps, if any tape is kept:
        replay the tape with the best mean score, and press nothing after its end
        add the episode's return to that tape's scores
    else, until the episode ends:
        go right for 100 steps
        if they brought no reward: go left for 70 steps
            (in each step of either, with probability 1/10, start a jump of 4 steps)
        keep a tape of the actions up to the greatest cumulative reward, with that reward as its first score

The tape is memory, the table of tapes is the agent's state, shared by all lanes. The agent never looks at the screen; it is
told by its config which actions are right, left and jump.

Deviates from the paper: the released code presses jump *together with* the direction. The benchmark's eight combinations
of buttons, the default here, have no such action: a jump is JUMP alone, carried by momentum (`right_jump`,
`left_jump` name others where there are any). Only the `tapes` best are kept, by mean score; with several lanes, t counts the
steps of all, and a tape begun by one lane may be replayed by others.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from headstart.errors import UsageError
from headstart.types import Agent, Discrete, Entry, Metrics, Rollout, Spec, TimeStep


@dataclass(frozen=True)
class JerkConfig:
    """JERK's settings; the numbers are the released code's, the actions the Retro benchmark's combinations of buttons."""

    total_steps: int = 0
    """environment steps, summed over lanes, over which the probability of a replay grows by 1; 0 is the run's budget, and
    where there is none the benchmark's, 1 000 000"""
    exploit_bias: float = 0.25
    """the probability of a replay at the first step"""
    right_steps: int = 100
    """steps of a block to the right"""
    left_steps: int = 70
    """steps of a block to the left, after one to the right that brought no reward"""
    jump_probability: float = 0.1
    """probability, in a step without a jump, that one starts"""
    jump_steps: int = 4
    """steps a jump is held"""
    tapes: int = 128
    """tapes kept, the best by mean score"""
    actions: int = 8
    """how many actions the suite must have"""
    nothing: int = 0
    """the action that presses nothing"""
    left: int = 1
    """the action LEFT"""
    right: int = 2
    """the action RIGHT"""
    left_jump: int = 7
    """the action of a jump while going left"""
    right_jump: int = 7
    """the action of a jump while going right"""

    def __post_init__(self) -> None:
        if self.total_steps < 0:
            raise UsageError(f"JERK's total_steps is at least 0, not {self.total_steps}.")
        for name in ("right_steps", "left_steps", "jump_steps", "tapes"):
            if getattr(self, name) < 1:
                raise UsageError(f"JERK's {name} is at least 1, not {getattr(self, name)}.")
        for name in ("nothing", "left", "right", "left_jump", "right_jump"):
            if not 0 <= getattr(self, name) < self.actions:
                raise UsageError(
                    f"JERK's {name} is one of the actions 0 to {self.actions - 1}, not {getattr(self, name)}."
                )


class Table(NamedTuple):
    """K tapes of at most H actions; `total` and `plays` are the sum and number of a tape's scores, 0 for an empty place.

    `serial` numbers the tapes in the order they were made, from 1.
    """

    tape: UInt8[Array, "K H"]
    length: Int[Array, " K"]
    total: Float[Array, " K"]
    plays: Int[Array, " K"]
    serial: Int[Array, " K"]

    @property
    def mean(self) -> Float[Array, " K"]:
        """Each tape's mean score; -∞ for an empty place."""
        scores = self.total / jnp.maximum(self.plays, 1).astype(jnp.float32)
        return jnp.where(self.plays > 0, scores, -jnp.inf)

    def best(self) -> Int[Array, ""]:
        """The row with the best mean score; of equals, the newest."""
        return jnp.argmax(jnp.where(self.mean == self.mean.max(), self.serial, -1))


class JerkState(NamedTuple):
    """The tapes, how many were ever made, and the environment steps so far, of all lanes."""

    table: Table
    made: Int[Array, ""]
    steps: Int[Array, ""]


class JerkMemory(NamedTuple):
    """One lane's episode so far, `[N, ...]`: the tape (what was pressed, or what is to be), and how it went.

    `length` is the tape's: of the best prefix, while exploring. `serial` is the tape's that is replayed, 0 while exploring.
    `taken` and `gained` are steps and reward of the current block, `held` the steps its jump still lasts.
    """

    tape: UInt8[Array, "*N H"]
    t: Int[Array, "*N"]
    total: Float[Array, "*N"]
    best: Float[Array, "*N"]
    length: Int[Array, "*N"]
    serial: Int[Array, "*N"]
    leftward: Bool[Array, "*N"]
    taken: Int[Array, "*N"]
    gained: Float[Array, "*N"]
    held: Int[Array, "*N"]


def jerk(spec: Spec, config: JerkConfig) -> Agent:
    """JERK for any suite with the actions its config names.

    Raises:
      UsageError: for another action space.
    """
    if spec.action != Discrete(config.actions):
        raise UsageError(
            f"jerk presses right, left and jump among {config.actions} actions and cannot play a suite with other actions."
        )

    def init(key: PRNGKeyArray) -> JerkState:
        del key
        k, none = config.tapes, jnp.zeros(config.tapes, jnp.int32)
        table = Table(jnp.zeros((k, spec.steps), jnp.uint8), none, jnp.zeros(k), none, none)
        return jax.tree.map(jnp.copy, JerkState(table, jnp.int32(0), jnp.int32(0)))

    def memory(n: int) -> JerkMemory:
        none, zero = jnp.zeros(n, jnp.int32), jnp.zeros(n)
        tape = jnp.zeros((n, spec.steps), jnp.uint8)
        fresh = JerkMemory(tape, none, zero, zero, none, none, jnp.zeros(n, bool), none, zero, none)
        return jax.tree.map(jnp.copy, fresh)

    def act(
        state: JerkState, memory: JerkMemory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[JerkMemory, Array, Any]:
        n = timestep.first.shape[0]
        chance = replay_probability(state, config)
        row = state.table.best()
        keys = jr.split(key, n)
        return *jax.vmap(lambda *lane: _press(config, state.table, row, chance, *lane))(
            memory, timestep.reward, timestep.first, keys
        ), ()

    def update(state: JerkState, rollout: Rollout, key: PRNGKeyArray) -> tuple[JerkState, Metrics]:
        del key
        last, reward = rollout.transitions.last[0], rollout.transitions.reward[0]
        ended = jax.vmap(_feel)(rollout.memory_after, reward)

        (table, made), _ = jax.lax.scan(_learn_episode, (state.table, state.made), (last, ended))
        return JerkState(table, made, state.steps + last.size), {
            "tapes": (table.plays > 0).sum().astype(jnp.float32),
            "replaying": (rollout.memory_after.serial > 0).astype(jnp.float32).mean(),
        }

    def adopt(fresh: JerkState, trained: JerkState) -> JerkState:
        return fresh._replace(table=trained.table, made=trained.made)

    return Agent(init, memory, act, update, adopt, unroll=1, learns=True)


def _learn_episode(
    carry: tuple[Table, Array], item: tuple[Array, JerkMemory]
) -> tuple[tuple[Table, Array], None]:
    """What one lane's step leaves in the table: nothing, or the tape or the score of an episode that has ended."""
    table, made = carry
    finished, episode = item
    explored = finished & (episode.serial == 0)
    table = _rescore(table, episode, finished & ~explored)
    made = made + explored.astype(jnp.int32)
    return (_keep(table, episode, made, explored), made), None


def replay_probability(state: JerkState, config: JerkConfig) -> Float[Array, ""]:
    """p = 0.25 + t / total steps (which passes 1 near the end); 0 as long as there is no tape."""
    p = config.exploit_bias + state.steps.astype(jnp.float32) / (config.total_steps or 1_000_000)
    return jnp.where(state.made > 0, p, 0.0)


def _feel(memory: JerkMemory, reward: Float[Array, ""]) -> JerkMemory:
    """Take in the reward of the last action: the return so far, and whether no prefix did better. One lane."""
    total = memory.total + reward
    better = (memory.serial == 0) & ((memory.t == 1) | (total > memory.best))
    return memory._replace(
        total=total,
        best=jnp.where(better, total, memory.best),
        length=jnp.where(better, memory.t, memory.length),
        gained=memory.gained + reward,
    )


def _press(
    config: JerkConfig,
    table: Table,
    row: Int[Array, ""],
    chance: Float[Array, ""],
    memory: JerkMemory,
    reward: Float[Array, ""],
    first: Bool[Array, ""],
    key: PRNGKeyArray,
) -> tuple[JerkMemory, Int[Array, ""]]:
    """One lane's next action."""
    k_replay, k_jump = jr.split(key)
    # at each episode's start, with probability p: replay the best tape
    replay = first & (jr.uniform(k_replay) < chance)
    felt = _feel(memory, reward)._replace(tape=())
    blank = jax.tree.map(jnp.zeros_like, felt)._replace(
        length=jnp.where(replay, table.length[row], 0), serial=jnp.where(replay, table.serial[row], 0)
    )
    now = jax.tree.map(lambda new, old: jnp.where(first, new, old), blank, felt)
    tape = jnp.where(replay, table.tape[row], memory.tape)

    # go right; if that brought no reward: go left
    over = now.taken == jnp.where(now.leftward, config.left_steps, config.right_steps)
    leftward = jnp.where(over, ~now.leftward & (now.gained <= 0), now.leftward)
    held = jnp.where(over, 0, now.held)
    starts = (held == 0) & (jr.uniform(k_jump) < config.jump_probability)
    held = jnp.where(starts, config.jump_steps, held)
    walk = jnp.where(leftward, config.left, config.right)
    jump = jnp.where(leftward, config.left_jump, config.right_jump)
    explore = jnp.where(held > 0, jump, walk)

    recorded = jnp.where(now.t < now.length, tape[now.t].astype(jnp.int32), config.nothing)
    action = jnp.where(now.serial > 0, recorded, explore).astype(jnp.int32)
    written = jnp.where(now.serial > 0, tape[now.t], action.astype(jnp.uint8))
    memory = now._replace(
        tape=tape.at[now.t].set(written),
        t=now.t + 1,
        leftward=leftward,
        taken=jnp.where(over, 0, now.taken) + 1,
        gained=jnp.where(over, 0.0, now.gained),
        held=jnp.maximum(held - 1, 0),
    )
    return memory, action


def _rescore(table: Table, episode: JerkMemory, replayed: Bool[Array, ""]) -> Table:
    """Add a replay's return to the scores of its tape, if that is still kept."""
    same = replayed & (table.serial == episode.serial) & (table.plays > 0)
    total = table.total + jnp.where(same, episode.total, 0.0)
    return table._replace(total=total, plays=table.plays + same.astype(jnp.int32))


def _keep(table: Table, episode: JerkMemory, serial: Int[Array, ""], explored: Bool[Array, ""]) -> Table:
    """Put an exploring episode's best prefix in the place of the worst tape, if it is better."""
    row = jnp.argmin(table.mean)
    kept = explored & (episode.best > table.mean[row])
    new = Table(episode.tape, episode.length, episode.best, jnp.int32(1), serial)
    return jax.tree.map(lambda old, new: old.at[row].set(jnp.where(kept, new, old[row])), table, new)


def _within(config: JerkConfig, steps: int) -> JerkConfig:
    return replace(config, total_steps=config.total_steps or steps)


ENTRY = Entry(JerkConfig(), jerk, within=_within)
