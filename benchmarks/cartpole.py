"""How hard the tasks of cartpole-v0 are, for pushes at random and for linear controllers.

    python -m benchmarks.cartpole > benchmarks/results/cartpole.txt

A controller pushes right where  θ + a θ' + b x + c x' > 0. The gains (a, b, c) are the best of a grid on
200 validation tasks. Printed are the mean score on the 1000 test tasks, its standard error, and the share of
episodes that are balanced for all 500 steps.
"""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.suites import suite

EPISODES = 10
GAINS = [jnp.array(gains) for gains in itertools.product((0.05, 0.2, 0.8), (0.0, 0.05), (0.0, 0.02, 0.1))]
ENV = suite("cartpole").env


def score(task, gains: Float[Array, " 3"] | None, key: PRNGKeyArray) -> Float[Array, ""]:
    """Steps survived in one episode; random pushes where `gains` is None."""
    k_start, k_play = jr.split(key)

    def body(carry, key):
        state, alive = carry
        x, x_dot, theta, theta_dot = ENV.observe(task, state)
        if gains is None:
            push = jr.bernoulli(key)
        else:
            push = theta + gains[0] * theta_dot + gains[1] * x + gains[2] * x_dot > 0
        state, out = ENV.step(task, state, push.astype(jnp.int32), key)
        return (state, alive & ~out.terminated), alive

    start = (ENV.reset(task, k_start), jnp.bool_(True))
    return jax.lax.scan(body, start, jr.split(k_play, ENV.spec.horizon))[1].sum().astype(jnp.float32)


@jax.jit
def scores(tasks, gains: Float[Array, " 3"] | None) -> Float[Array, "M E"]:
    """The scores of one controller on each task in each of `EPISODES` episodes."""
    keys = jr.split(jr.key(0), (tasks.force.shape[0], EPISODES))
    return jax.vmap(lambda task, keys: jax.vmap(lambda key: score(task, gains, key))(keys))(tasks, keys)


def line(name: str, found: np.ndarray) -> None:
    error = found.mean(1).std() / np.sqrt(len(found))
    print(
        f"{name:44s} {found.mean():6.1f} ± {error:3.1f}   balanced {(found == ENV.spec.horizon).mean():6.1%}"
    )


def main() -> None:
    plain, mirrored = suite("cartpole"), suite("cartpole", mirrored=True)
    test, valid = plain.split("test").tasks, plain.split("valid", 200).tasks
    best = GAINS[int(np.argmax([scores(valid, gains).mean() for gains in GAINS]))]
    name = ", ".join(f"{gain:g}" for gain in best)
    standard = jax.tree.map(lambda leaf: jnp.full(1000, leaf), plain.standard)
    line("CartPole-v1: random", np.asarray(scores(standard, None)))
    line("cartpole-v0: random", np.asarray(scores(test, None)))
    line(f"cartpole-v0: controller ({name})", np.asarray(scores(test, best)))
    line("cartpole-v0:mirrored: random", np.asarray(scores(mirrored.split("test").tasks, None)))
    line(f"cartpole-v0:mirrored: controller ({name})", np.asarray(scores(mirrored.split("test").tasks, best)))


if __name__ == "__main__":
    main()
