"""The loop around foreign simulators: they step on the host, the agent acts and learns on the device.

    for each update:
        simulators.choose(curriculum's chances)               if the agent has one
        for t in 0 .. T-1:
            for each half of the lanes:                       while one half is stepped, the other's actions are computed
                wait for o_t;  a_t ~ agent.act(o_t);  hand a_t to its simulators
        agent.update(rollout)                                 while the next rollout begins, if weights may be stale

All randomness of update u is derived from (seed, u), as in `loops.jit`, and with one part and no staleness the two agree on
one environment to rounding. With `staleness` 1 the rollout of update u is played by the weights before update u - 1: never
older; what a curriculum learns of a rollout always counts in the next. What a simulator is in the middle of cannot be saved:
a resumed run begins new episodes, and is not the run that was never stopped, though the same each time it is resumed from
there.
"""

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from headstart.envs.trial import TrialObs
from headstart.errors import UsageError
from headstart.hosts.env import HostEnv, Simulators
from headstart.loops.jit import Carry, Log, Tally
from headstart.loops.sight import Sight, sight_of
from headstart.types import Agent, AgentState, Curriculum, Memory, Metrics, Rollout, TimeStep, Transition


@partial(jax.jit, static_argnums=0)
def _act(
    sight: Sight,
    leaves: list[Array],
    memory: Memory,
    timestep: TimeStep,
    keys: Key[Array, " T"],
    place: Array,
) -> tuple[Memory, Array, PyTree]:
    """Actions of one part of the lanes at step t, where `place` is (t, part); the first part's key is `loops.jit`'s."""
    k_act, _ = jr.split(keys[place[0]])
    key = jax.lax.cond(place[1] == 0, lambda: k_act, lambda: jr.fold_in(k_act, place[1]))
    return sight.agent.act(sight.state(leaves), memory, timestep, key)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update(
    agent: Agent, state: AgentState, rollout: Rollout, key: PRNGKeyArray
) -> tuple[AgentState, Metrics]:
    return agent.update(state, rollout, key)


@partial(jax.jit, static_argnums=0)
def _chances(curriculum: Curriculum, course: PyTree) -> Float[Array, " M"]:
    return curriculum.chances(course)


@partial(jax.jit, static_argnums=0)
def _follow(
    curriculum: Curriculum, course: PyTree, row_t: Int[Array, "T1 N"], rollout: Rollout, state: AgentState
) -> PyTree:
    return curriculum.update(course, row_t, rollout, state)


@partial(jax.jit, static_argnums=2)
def _keys(key: PRNGKeyArray, update: Array, unroll: int) -> tuple[Key[Array, " T"], PRNGKeyArray]:
    """The keys of an update's steps, and of what is learned from them."""
    k_rollout, k_update = jr.split(jr.fold_in(key, update))
    return jr.split(k_rollout, unroll), k_update


def _word(key: PRNGKeyArray) -> int:
    """A key as a whole number of 64 bits, which seeds simulators."""
    high, low = np.asarray(jr.key_data(key)).tolist()
    return (high << 32) | low


@dataclass
class _Part:
    """Some of the lanes: their simulators, what they last showed, and what the agent remembers of them."""

    lanes: Simulators
    n: int
    timestep: TimeStep
    memory: Memory
    began: Memory = ()

    def join(self, waiting: "Future[TimeStep] | None") -> None:
        """Wait for what its simulators are stepping towards."""
        if waiting is not None:
            self.timestep = waiting.result()


def _stack(parts: list[PyTree]) -> PyTree:
    """Steps `[N, ...]` to `[T, N, ...]`."""
    return jax.tree.map(lambda *rows: np.stack([np.asarray(row) for row in rows]), *parts)


def _side_by_side(parts: list[PyTree], axis: int = 0) -> PyTree:
    """The lanes of all parts."""
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *rows: np.concatenate([np.asarray(row) for row in rows], axis), *parts)


class HostLoop:
    """A run on a foreign simulator; it owns the simulators, and ends them when it is closed or forgotten.

    `start` gives a `Carry` that holds this loop as its lanes, and `chunk` takes it further, as in `loops.jit`; a carry of
    another update than the last chunk's is a checkpoint's, and goes on with new episodes. `rewarded` tells whether any
    reward was ever other than 0; `recall` tells the loop what was before it. In a pytree, a loop is structure and no leaf.
    """

    def __init__(self, agent: Agent, env: HostEnv, n: int) -> None:
        if n % env.halves:
            raise UsageError(f"{env.name} has halves={env.halves}, which do not divide {n} lanes.")
        self.agent, self.env, self.n = agent, env, n
        self.rewarded = False
        self._made = 0
        self._earlier = 0  # deaths before the run was resumed
        self._parts: list[_Part] = []
        self._pool = ThreadPoolExecutor(env.halves + 1)
        self._learning: Future[tuple[AgentState, Metrics]] | None = None
        self._acting: list[Array] = []
        self._acted = self._learned = 0.0  # seconds; the second is another thread's

    @property
    def deaths(self) -> int:
        """How often a simulator died and was started again, since the run began."""
        return self._earlier + sum(part.lanes.deaths for part in self._parts)

    def recall(self, deaths: int, rewarded: bool) -> None:
        """Count on from what happened before the run was resumed."""
        self._earlier, self.rewarded = deaths, rewarded

    def start(self, tasks: PyTree, key: PRNGKeyArray) -> Carry:
        """A fresh run on tasks drawn from the table `[M, ...]`."""
        k_agent, k_lanes = jr.split(key)
        width = self.n // self.env.halves
        for low in range(0, self.n, width):
            lanes = self.env.open(tasks, width, low, self.agent.pinned)
            self._parts.append(_Part(lanes, width, lanes.reset(_word(k_lanes)), self.agent.memory(width)))
        state = jax.jit(self.agent.init)(k_agent)
        part = self._parts[0]
        seen = part.timestep._replace(final_obs=None)
        self._sight = sight_of(self.agent, state, part.memory, seen)
        tally = Tally(np.zeros(self.n, np.float32), np.zeros(self.n, np.int32))  # pyright: ignore[reportArgumentType]
        m = jax.tree.leaves(tasks)[0].shape[0]
        course = self.agent.curriculum.init(m, self.n) if self.agent.curriculum else ()
        return self._carry(state, tally, 0, course)

    def _carry(self, state: AgentState, tally: Tally, update: int, course: PyTree) -> Carry:
        self._made = update
        memory = _side_by_side([part.memory for part in self._parts])
        timestep = _side_by_side([part.timestep for part in self._parts])
        lanes: Any = self
        return Carry(state, memory, lanes, timestep, tally, jnp.int32(update), course)

    def check(self, carry: Carry) -> None:
        """Trace an update: settings that do not fit each other show before anything is played.

        Raises:
          UsageError: whatever the agent raises.
        """
        t = self.agent.unroll

        def update(memory: Memory, now: TimeStep) -> Any:
            extras = self.agent.act(carry.agent, memory, now, jr.key(0))[1:]
            steps = Transition(
                now.obs,
                now.first,
                extras[0],
                now.reward,
                now.discount,
                now.first,
                now.final_obs,
                None,
                extras[1],
            )
            many = jax.tree.map(lambda x: jnp.broadcast_to(x, (t, *jnp.shape(x))), steps)
            return self.agent.update(carry.agent, Rollout(memory, many, now, None, memory), jr.key(0))

        jax.eval_shape(update, carry.memory, carry.timestep)

    def _resume(self, carry: Carry, key: PRNGKeyArray) -> Carry:
        """Go on from a checkpoint's carry, with new episodes: those it was made in are lost."""
        word = _word(jr.fold_in(key, carry.update))
        for part in self._parts:
            part.timestep = part.lanes.reset(word)
            part.memory = self.agent.memory(part.n)
        self._acting = []
        blank = jax.tree.map(lambda x: np.zeros_like(np.asarray(x)), carry.tally)
        return self._carry(carry.agent, blank, int(carry.update), carry.curriculum)

    def chunk(self, carry: Carry, key: PRNGKeyArray, updates: int) -> tuple[Carry, Log]:
        """`updates` updates; `carry` is donated. The log's leaves are `[updates]`, and its metrics tell which side was busy:
        `simulating` and `learning` are shares of the time, `deaths` those of simulators so far.
        """
        if int(carry.update) != self._made:
            carry = self._resume(carry, key)
        state, tally, course, made = carry.agent, carry.tally, carry.curriculum, self._made
        simulated, begun = self._simulated(), time.perf_counter()
        self._acted = self._learned = 0.0
        metrics: list[Metrics] = []
        episodes: list[tuple[int, float, int]] = []
        for update in range(made, made + updates):
            keys, k_update = _keys(key, np.uint32(update), self.agent.unroll)
            self._choose(course)
            rollout, row_t, tally, ended = self._rollout(state, tally, keys)
            state = self._joined(state, metrics)
            if self.agent.curriculum:
                rollout = jax.device_put(rollout)  # once, for both who learn from it
                course = _follow(self.agent.curriculum, course, row_t, rollout, state)
            self._begin_update(state, rollout, k_update)
            episodes.append(ended)
            if not self.env.staleness:
                state = self._joined(state, metrics)
        state = self._joined(state, metrics)  # which a checkpoint is to hold
        wall = time.perf_counter() - begun
        learning = min((self._acted + self._learned) / wall, 1.0)
        shares = ((self._simulated() - simulated) / wall, learning, float(self.deaths))
        return self._carry(state, tally, made + updates, course), _log(metrics, episodes, shares)

    def _simulated(self) -> float:
        """Seconds that the average worker has simulated."""
        return sum(part.lanes.busy for part in self._parts) / len(self._parts)

    def _choose(self, course: PyTree) -> None:
        """Tell the simulators what their lanes are to play next."""
        if self.agent.curriculum:
            chances = np.asarray(_chances(self.agent.curriculum, course))
            for part in self._parts:
                part.lanes.choose(chances)

    def _begin_update(self, state: AgentState, rollout: Rollout, key: PRNGKeyArray) -> None:
        """Learn in the background; meanwhile the acting weights are a copy of those from before."""
        if self.env.staleness:
            self._acting = [jnp.copy(leaf) for leaf in self._sight.leaves(state)]

        def learn() -> tuple[AgentState, Metrics]:
            begun = time.perf_counter()
            learned = jax.block_until_ready(_update(self.agent, state, rollout, key))
            self._learned += time.perf_counter() - begun
            return learned

        self._learning = self._pool.submit(learn)

    def _joined(self, state: AgentState, metrics: list[Metrics]) -> AgentState:
        """The state after the update under way, whose metrics are appended; the same state if none is."""
        if self._learning is None:
            return state
        waiting, self._learning = self._learning, None
        state, found = waiting.result()
        metrics.append(found)
        return state

    def _rollout(
        self, state: AgentState, tally: Tally, keys: Key[Array, " T"]
    ) -> tuple[Rollout, Int[np.ndarray, "T1 N"], Tally, tuple[int, float, int]]:
        """T steps in all lanes; beside them the row that each lane plays at every step and after the last, and what
        episodes ended: count, returns, lengths.
        """
        leaves = self._acting or self._sight.leaves(state)
        steps: list[list[Transition]] = [[] for _ in self._parts]
        row_t: list[list[np.ndarray]] = [[] for _ in self._parts]
        waiting: list[Future[TimeStep] | None] = [None] * len(self._parts)
        for part in self._parts:
            part.began = part.memory
        for t in range(self.agent.unroll):
            for i, part in enumerate(self._parts):
                part.join(waiting[i])
                if t:
                    steps[i][-1] = _outcome(steps[i][-1], part.timestep)
                transition = self._press(part, leaves, keys, np.array([t, i], np.int32))
                steps[i].append(transition)
                row_t[i].append(part.lanes.rows)
                waiting[i] = self._pool.submit(part.lanes.step, np.asarray(transition.action))
        for i, part in enumerate(self._parts):
            part.join(waiting[i])
            steps[i][-1] = _outcome(steps[i][-1], part.timestep)
            row_t[i].append(part.lanes.rows)
        transitions = _side_by_side([_stack(one) for one in steps], axis=1)
        self.rewarded = self.rewarded or bool(np.any(transitions.reward))
        memory = _side_by_side([part.began for part in self._parts])
        after = _side_by_side([part.memory for part in self._parts])
        timestep = _side_by_side([part.timestep for part in self._parts])
        tally, ended = _count(tally, transitions)
        rows = np.concatenate([np.stack(one) for one in row_t], axis=1)
        return Rollout(memory, transitions, timestep, None, after), rows, tally, ended

    def _press(
        self, part: _Part, leaves: list[Array], keys: Key[Array, " T"], place: np.ndarray
    ) -> Transition:
        """Decide one part's actions; their outcome is not known yet."""
        now, begun = part.timestep, time.perf_counter()
        seen = now._replace(final_obs=None)
        part.memory, action, extras = _act(self._sight, leaves, part.memory, seen, keys, place)  # pyright: ignore[reportArgumentType]
        action = np.asarray(action)
        self._acted += time.perf_counter() - begun
        unknown: Any = None
        return Transition(now.obs, now.first, action, unknown, unknown, unknown, unknown, None, extras)  # pyright: ignore[reportArgumentType]

    def close(self) -> None:
        """End the simulators."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for part in self._parts:
            part.lanes.close()

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.close()
        except Exception:  # at the interpreter's end modules are gone, contextlib too
            pass


jax.tree_util.register_pytree_node(HostLoop, lambda loop: ((), loop), lambda loop, _: loop)


def _outcome(transition: Transition, then: TimeStep) -> Transition:
    return transition._replace(
        reward=then.reward, discount=then.discount, last=then.first, final_obs=then.final_obs
    )


def _count(tally: Tally, steps: Transition) -> tuple[Tally, tuple[int, float, int]]:
    """Add a rollout to each lane's episode, and the episodes that ended up."""
    total, length = np.array(tally.total), np.array(tally.length)
    count, returns, lengths = 0, np.float32(0.0), 0
    for reward, last in zip(np.asarray(steps.reward), np.asarray(steps.last), strict=True):
        total, length = total + reward, length + 1
        count, lengths = count + int(last.sum()), lengths + int(length[last].sum())
        returns += total[last].sum(dtype=np.float32)
        total, length = np.where(last, np.float32(0.0), total), np.where(last, 0, length).astype(np.int32)
    return Tally(total, length), (count, float(returns), lengths)  # pyright: ignore[reportArgumentType]


def _log(
    metrics: list[Metrics], episodes: list[tuple[int, float, int]], shares: tuple[float, float, float]
) -> Log:
    """The updates' figures, `[updates]`."""
    found = _stack([jax.device_get(one) for one in metrics])
    busy = dict(zip(("simulating", "learning", "deaths"), shares, strict=True))
    found |= {name: np.full(len(metrics), share, np.float32) for name, share in busy.items()}
    count, returns, lengths = zip(*episodes, strict=True)
    columns = (np.array(count, np.int32), np.array(returns, np.float32), np.array(lengths, np.int32))
    return Log(found, *columns)  # pyright: ignore[reportArgumentType]


@partial(jax.jit, static_argnums=0)
def _choose(
    agent: Agent, state: AgentState, memory: Memory, timestep: TimeStep, key: PRNGKeyArray, t: Array
) -> tuple[Memory, Array]:
    return agent.act(state, memory, timestep, jr.fold_in(key, t))[:2]


def play(
    agent: Agent, env: HostEnv, tasks: PyTree, state: AgentState, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, "M K"], Int[np.ndarray, "M K"], int]:
    """Return and length of an episode (of a trial's K) of each task in the table `[M, ...]`, `env.width` side by side; and
    how many simulators died, whose episodes ended there.

    The simulators' randomness depends on `key` and the task's row only, never on the agent.
    """
    m, k = jax.tree.leaves(tasks)[0].shape[0], env.spec.episodes
    k_reset, k_act = jr.split(key)
    returns, lengths, deaths = np.zeros((m, k), np.float32), np.zeros((m, k), np.int32), 0
    for low in range(0, m, env.width):
        n = min(env.width, m - low)
        rows, episode, alive = np.arange(low, low + n), np.zeros(n, np.int32), np.ones(n, bool)
        memory, k_batch = agent.memory(n), jr.fold_in(k_act, low)
        with contextlib.closing(env.open(tasks, n, low, True)) as lanes:
            timestep = lanes.reset(_word(k_reset))
            for t in range(env.spec.steps):
                seen = timestep._replace(final_obs=None)
                memory, action = _choose(agent, state, memory, seen, k_batch, np.int32(t))  # pyright: ignore[reportArgumentType]
                timestep = lanes.step(np.asarray(action))
                returns[rows, episode] += np.where(alive, timestep.reward, np.float32(0.0))
                lengths[rows, episode] += alive
                alive = alive & ~np.asarray(timestep.first)
                if isinstance(timestep.obs, TrialObs):
                    episode += alive & np.asarray(timestep.obs.ended)
                if not alive.any():
                    break
            deaths += lanes.deaths
    return returns, lengths, deaths
