"""The expert: the best known tape of each task, replayed. A mark on the scale, not a contender.

    for each task:
        score ← return of the episode in which the stored actions are pressed one after another

A tape cannot answer to luck, so it is replayed where there is none (`tasks.Expert`): it says what the task has to give.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from headstart import results
from headstart.errors import UsageError
from headstart.protocol.contenders import kept_at, label
from headstart.results import Result
from headstart.tasks import Split, Suite
from headstart.types import Env

NAME = "expert"
"""what transfer and reports call it"""


def tapes(suite: Suite, split: Split) -> list[Int[np.ndarray, " steps"]]:
    """The best known tape of every task of a finite split.

    Raises:
      UsageError: if the suite keeps none, or lacks one.
    """
    if suite.expert is None:
        raise UsageError(f"suite {suite.name} keeps no best known plays; leave the expert out.")
    found = [suite.expert.tape(label(split, row)) for row in range(split.size or 0)]
    lacking = [label(split, row) for row, tape in enumerate(found) if tape is None]
    if lacking:
        raise UsageError(
            f"no best known play is kept of {len(lacking)} of the {split.size} {split.role} tasks of {suite.name} "
            f"({lacking[0]} is one); leave the expert out."
        )
    return [tape for tape in found if tape is not None]


def _pressed(
    env: Env, task: PyTree, tape: Int[Array, " T"], steps: Int[Array, ""]
) -> tuple[Float[Array, ""], Int[Array, ""], Bool[Array, ""]]:
    """Return and steps of the episode in which a tape's first so many actions are pressed, and whether they end it."""
    key = jr.key(0)

    def press(carry: PyTree, item: tuple[Array, Array]) -> tuple[PyTree, None]:
        state, total, count, ended = carry
        t, action = item
        going = ~ended & (t < steps)
        after, out = env.step(task, state, action, jr.fold_in(key, t))
        state = jax.tree.map(lambda new, old: jnp.where(going, new, old), after, state)
        total = total + jnp.where(going, out.reward, 0.0)
        ended = ended | (going & (out.terminated | out.truncated))
        return (state, total, count + going.astype(jnp.int32), ended), None

    start = (env.reset(task, key), jnp.float32(0.0), jnp.int32(0), jnp.bool_(False))
    (_, total, count, ended), _ = jax.lax.scan(press, start, (jnp.arange(tape.shape[0]), tape))
    return total, count, ended


@partial(jax.jit, static_argnums=0)
def _replay(
    env: Env, tasks: PyTree, actions: Int[Array, "M T"], length: Int[Array, " M"]
) -> tuple[Float[Array, " M"], Int[Array, " M"], Bool[Array, " M"]]:
    """`_pressed` for every task of a table."""
    return jax.vmap(partial(_pressed, env))(jax.tree.map(jnp.asarray, tasks), actions, length)


def expert(
    suite: Suite,
    split: Split,
    budget: int,
    run: Path | None = None,
    watch: Callable[[Result], None] = lambda _: None,
    command: str = "",
) -> list[Result]:
    """The score of every task's best known tape, in the suite's own measure.

    Args:
      budget: of the contenders it stands beside; a replay takes an episode of it.
      run: folder that keeps the results.

    Raises:
      UsageError: if there is a task without a tape.
    """
    pressed = tapes(suite, split)
    assert suite.expert is not None
    longest = max(map(len, pressed))
    actions = np.stack([np.pad(tape, (0, longest - len(tape))) for tape in pressed]).astype(np.int32)
    lengths = np.array([len(tape) for tape in pressed], np.int32)
    played = jax.device_get(
        _replay(suite.expert.env, split.tasks, jnp.asarray(actions), jnp.asarray(lengths))
    )
    found: list[Result] = []
    for row, (total, steps, ended) in enumerate(zip(*played, strict=True)):
        about = {"task": label(split, row), "row": row, "episodes": 1, "ended": bool(ended), "luck": "none"}
        result = Result(
            *(suite.name, split.role, split.fingerprint, NAME, {}),
            *(0, budget, int(steps), [float(total)]),
            facts=about,
            versions=results.versions(),
            commit=results.commit(),
            command=command,
        )
        if run is not None:
            results.save(result, kept_at(run, NAME, label(split, row), 0))
        watch(result)
        found.append(result)
    return found


__all__ = ["NAME", "expert", "tapes"]
