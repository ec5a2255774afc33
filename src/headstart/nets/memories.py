"""Memories: cells that carry a state through time and clear it where an episode or trial is `first`.

A cell is unbatched: `cell(state, x, first) -> (state, y)`. `unroll` runs one over a rollout `[T, N, ...]`; on a CPU a plain
scan with one fused product for all gates inside the step is fastest, and a linear recurrence may instead be scanned in
parallel, which is what an accelerator wants (chosen by backend, tested equal).
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from headstart.types import Memory


def _keep(first: Bool[Array, ""]) -> Float[Array, ""]:
    return 1.0 - first.astype(jnp.float32)


def _gates(key: PRNGKeyArray, i: int, o: int, n: int) -> Float[Array, "no i"]:
    """`n` orthogonal blocks stacked, so that one product computes all gates."""
    block = jax.nn.initializers.orthogonal()
    return jnp.concatenate([block(k, (o, i), jnp.float32) for k in jr.split(key, n)])


class GRU(eqx.Module):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078; reset gate after the product, as in cuDNN).

    r, z = σ(W x + U h)     c = tanh(W x + r ⊙ U h)     h' = z ⊙ h + (1 - z) ⊙ c
    """

    input: Float[Array, "h3 i"]
    recurrent: Float[Array, "h3 h"]
    bias: Float[Array, " h3"]
    bias_c: Float[Array, " h"]
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, i: int, size: int) -> None:
        k_input, k_recurrent = jr.split(key)
        self.input = _gates(k_input, i, size, 3)
        self.recurrent = _gates(k_recurrent, size, size, 3)
        self.bias = jnp.zeros(3 * size)
        self.bias_c = jnp.zeros(size)
        self.size = size

    def start(self) -> Memory:
        return jnp.zeros(self.size)

    def __call__(
        self, h: Float[Array, " h"], x: Float[Array, " i"], first: Bool[Array, ""]
    ) -> tuple[Float[Array, " h"], Float[Array, " h"]]:
        h = h * _keep(first)
        from_x = x @ self.input.T + self.bias
        from_h = h @ self.recurrent.T
        rz = jax.nn.sigmoid(from_x[: 2 * self.size] + from_h[: 2 * self.size])
        r, z = rz[: self.size], rz[self.size :]
        c = jnp.tanh(from_x[2 * self.size :] + r * (from_h[2 * self.size :] + self.bias_c))
        h = z * h + (1.0 - z) * c
        return h, h


class LSTM(eqx.Module):
    """Long short-term memory with forget-gate bias 1 (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    i, f, o = σ(W x + U h)   g = tanh(W x + U h)   c' = f ⊙ c + i ⊙ g   h' = o ⊙ tanh(c')
    """

    input: Float[Array, "h4 i"]
    recurrent: Float[Array, "h4 h"]
    bias: Float[Array, " h4"]
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, i: int, size: int) -> None:
        k_input, k_recurrent = jr.split(key)
        self.input = _gates(k_input, i, size, 4)
        self.recurrent = _gates(k_recurrent, size, size, 4)
        self.bias = jnp.zeros(4 * size).at[size : 2 * size].set(1.0)
        self.size = size

    def start(self) -> Memory:
        return jnp.zeros(self.size), jnp.zeros(self.size)

    def __call__(
        self, state: Memory, x: Float[Array, " i"], first: Bool[Array, ""]
    ) -> tuple[Memory, Float[Array, " h"]]:
        h, c = (part * _keep(first) for part in state)
        gates = x @ self.input.T + h @ self.recurrent.T + self.bias
        i, f, g, o = jnp.split(gates, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


SILU_ONE = 1.2784645
"""where silu is 1"""


class LinearRecurrence(eqx.Module):
    """A real-valued gated diagonal recurrence (minGRU, Feng et al. 2024, arXiv:2410.01201), gated on output.

        z = σ(W_z x + b)     h' = (1 - z) ⊙ h + z ⊙ W_c x     y = h' ⊙ silu(W_o x)

    The gates do not see h, so a whole trajectory is one associative scan over pairs (a, b) : h ↦ a h + b. The biases of z
    spread the time constants from 2 to 256 steps. The output gate begins open, at 1 for every x: what is remembered is
    read alike whatever was seen last.
    """

    input: Float[Array, "h3 i"]
    bias: Float[Array, " h3"]
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, i: int, size: int) -> None:
        self.input = _gates(key, i, size, 3).at[2 * size :].set(0.0)
        rate = 2.0 ** -jnp.linspace(1.0, 8.0, size)
        bias_z = jnp.log(rate) - jnp.log1p(-rate)
        self.bias = jnp.concatenate([bias_z, jnp.zeros(size), jnp.full(size, SILU_ONE)])
        self.size = size

    def start(self) -> Memory:
        return jnp.zeros(self.size)

    def coefficients(self, x: Float[Array, " i"], first: Bool[Array, ""]) -> tuple[Array, Array, Array]:
        """(a, b, output gate): h' = a h + b, with a = 0 where `first`."""
        z, c, o = jnp.split(x @ self.input.T + self.bias, 3)
        z = jax.nn.sigmoid(z)
        return (1.0 - z) * _keep(first), z * c, jax.nn.silu(o)

    def __call__(
        self, h: Float[Array, " h"], x: Float[Array, " i"], first: Bool[Array, ""]
    ) -> tuple[Float[Array, " h"], Float[Array, " h"]]:
        a, b, o = self.coefficients(x, first)
        h = a * h + b
        return h, h * o

    def parallel(self, h: Array, x: Float[Array, "T n i"], first: Bool[Array, "T n"]) -> tuple[Array, Array]:
        """The same as scanning `__call__` over `[T, N]`, by one associative scan."""
        a, b, o = jax.vmap(jax.vmap(self.coefficients))(x, first)
        b = b.at[0].add(a[0] * h)

        def compose(f: tuple[Array, Array], g: tuple[Array, Array]) -> tuple[Array, Array]:
            return f[0] * g[0], g[0] * f[1] + g[1]

        h_t = jax.lax.associative_scan(compose, (a, b))[1]
        return h_t[-1], h_t * o


class FastWeights(eqx.Module):
    """A table that is written by the delta rule and read by content (Schmidhuber 1992; Schlag et al. 2021, arXiv:2102.11174;
    recurrent as in Irie et al. 2021, arXiv:2106.06295).

        q = softmax(A x)                             where we are, as a share of each slot
        g, v = σ, tanh (W x + R M q + b)             what to write, and how much of it, knowing what was known of here
        M' = M + q⁻ (g ⊙ (v - M q⁻))ᵀ                learned of where we were a step ago, q⁻
        y = M' q + S x                               what is known of where we are

    What comes of a decision is seen a step later: so the write goes to the address of the step before. For a state s, an
    action and what followed it, M holds what a tabular method would: a row a state, gates choosing the action's columns,
    and a `v` that may look up the worth of the state one has come to. The biases of g spread its rates from 1/2 to 1/32.

    What x shows is all that addresses and writes know. Where places look alike, or it matters how one came there, x is
    joined by the output of a linear recurrence along x, the `context`.
    """

    address: Float[Array, "k i"]
    input: Float[Array, "h2 i"]
    recall: Float[Array, "h2 h"]
    bias: Float[Array, " h2"]
    skip: Float[Array, "h i"]
    context: LinearRecurrence | None
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, i: int, size: int, slots: int = 16, context: int = 0) -> None:
        k_address, k_input, k_recall, k_skip = jr.split(key, 4)
        self.context = LinearRecurrence(jr.fold_in(key, 4), i, context) if context else None
        i += context
        sharp, plain = jax.nn.initializers.orthogonal(3.0), jax.nn.initializers.orthogonal()
        self.address = sharp(k_address, (slots, i), jnp.float32)
        self.input = _gates(k_input, i, size, 2)
        self.recall = 0.5 * _gates(k_recall, size, size, 2)
        rate = 2.0 ** -jnp.linspace(1.0, 5.0, size)
        self.bias = jnp.zeros(2 * size).at[:size].set(jnp.log(rate) - jnp.log1p(-rate))
        self.skip = plain(k_skip, (size, i), jnp.float32)
        self.size = size

    def start(self) -> Memory:
        slots = self.address.shape[0]
        return jnp.zeros(slots), jnp.zeros((slots, self.size)), self.context.start() if self.context else ()

    def __call__(
        self, state: Memory, x: Float[Array, " i"], first: Bool[Array, ""]
    ) -> tuple[Memory, Float[Array, " h"]]:
        before, table = (part * _keep(first) for part in state[:2])
        context = state[2]
        if self.context is not None:
            context, y = self.context(context, x, first)
            x = jnp.concatenate([x, y])
        here = jax.nn.softmax(x @ self.address.T)
        g, v = jnp.split(x @ self.input.T + (here @ table) @ self.recall.T + self.bias, 2)
        change = jax.nn.sigmoid(g) * (jnp.tanh(v) - before @ table)
        table = table + before[:, None] * change[None, :]
        return (here, table, context), here @ table + x @ self.skip.T


Cell = GRU | LSTM | LinearRecurrence | FastWeights
MemoryName = Literal["none", "gru", "lstm", "linear", "fast"]
CELLS: dict[str, Any] = {"gru": GRU, "lstm": LSTM, "linear": LinearRecurrence, "fast": FastWeights}


def make_cell(
    name: MemoryName, key: PRNGKeyArray, i: int, size: int, slots: int = 16, context: int = 0
) -> Cell:
    """A memory by name for inputs of length `i`; `slots` and `context` are those of fast weights."""
    return FastWeights(key, i, size, slots, context) if name == "fast" else CELLS[name](key, i, size)


def start(cell: Cell, n: int) -> Memory:
    """The empty memory of `n` lanes: `[N, ...]`."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), cell.start())


def unroll(
    cell: Cell,
    memory: Memory,
    x: Float[Array, "T n i"],
    first: Bool[Array, "T n"],
    parallel: bool | None = None,
) -> tuple[Memory, Float[Array, "T n o"]]:
    """Run a cell along a rollout.

    Args:
      memory: `[N, ...]` before the first step.
      x: features `[T, N, i]`; first: `[T, N]`, True where the memory is to be cleared.
      parallel: whether to scan a linear recurrence associatively; None chooses by backend (not on a CPU).
    """
    if parallel is None:
        parallel = jax.default_backend() != "cpu"
    if parallel and isinstance(cell, LinearRecurrence):
        return cell.parallel(memory, x, first)

    def step(memory: Memory, inputs: tuple[Array, Array]) -> tuple[Memory, Array]:
        return jax.vmap(cell)(memory, *inputs)

    return jax.lax.scan(step, memory, (x, first))
