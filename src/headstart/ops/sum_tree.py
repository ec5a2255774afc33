"""A tree of sums: drawing one of many entries in proportion to its priority (Schaul et al. 2016, arXiv:1511.05952, B.2.1).

Every node holds the sum of its `BRANCH` children, so that finding and changing an entry each touch one node a level:
O(log C) of C entries. A tree is one array, level by level as in a heap: node i's children are k i + 1 … k i + k.

Four children a node are fastest on a CPU: half the levels of two, and their sums still one short vector. Cumulative sums
over √C blocks cost nine times as much (benchmarks/rainbow_speed.py). A sum is added up afresh from its children whenever
one changes, never corrected by a difference, so that rounding errors do not gather.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BRANCH = 4

SumTree = Float[Array, " nodes"]


def empty(entries: int, branch: int = BRANCH) -> SumTree:
    """A tree of at least `entries` entries of priority 0."""
    level, nodes = 1, 1
    while level < entries:
        level *= branch
        nodes += level
    return jnp.zeros(nodes)


def _shape(tree: SumTree, branch: int) -> tuple[int, int]:
    """How many levels there are below the root, and the node of entry 0."""
    levels, first, level = 0, 0, 1
    while first + level < tree.size:
        first, level, levels = first + level, level * branch, levels + 1
    return levels, first


def _children(tree: SumTree, node: Int[Array, " b"], branch: int) -> Float[Array, "b k"]:
    return tree[branch * node[:, None] + jnp.arange(1, branch + 1, dtype=jnp.int32)[None]]


def total(tree: SumTree) -> Float[Array, ""]:
    """The sum of all priorities."""
    return tree[0]


def get(tree: SumTree, index: Int[Array, "*b"], branch: int = BRANCH) -> Float[Array, "*b"]:
    """The priorities of some entries."""
    return tree[_shape(tree, branch)[1] + index]


def put(
    tree: SumTree, index: Int[Array, " b"], priority: Float[Array, " b"], branch: int = BRANCH
) -> SumTree:
    """Set the priorities of some entries; one that is named twice must be given the same priority twice.

    Examples:
      >>> tree = put(empty(4), jnp.array([1, 3]), jnp.array([2.0, 3.0]))
      >>> print(tree)
      [5. 0. 2. 0. 3.]
    """
    levels, first = _shape(tree, branch)

    def up(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        tree, node = carry
        node = jax.lax.div(node - 1, branch)
        return tree.at[node].set(_children(tree, node, branch).sum(-1)), node

    node = first + index
    return jax.lax.fori_loop(0, levels, up, (tree.at[node].set(priority), node))[0]


def find(tree: SumTree, mass: Float[Array, " b"], branch: int = BRANCH) -> Int[Array, " b"]:
    """The entry i at which p_0 + … + p_i first exceeds each mass in [0, total).

    Rounding may, once in millions, lead to an entry of priority 0, as an empty tree always does: give it no weight.

    Examples:
      >>> tree = put(empty(6), jnp.array([1, 5]), jnp.array([2.0, 3.0]))
      >>> print(find(tree, jnp.array([0.0, 1.9, 2.0, 4.9])))
      [1 1 5 5]
    """
    levels, first = _shape(tree, branch)

    def down(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        node, mass = carry
        sums = _children(tree, node, branch)
        node, beyond = branch * node + 1, jnp.ones(mass.shape, bool)
        for child in range(branch - 1):
            beyond = beyond & (mass >= sums[:, child])
            mass = jnp.where(beyond, mass - sums[:, child], mass)
            node = node + beyond.astype(jnp.int32)
        return node, mass

    return jax.lax.fori_loop(0, levels, down, (jnp.zeros(mass.shape, jnp.int32), mass))[0] - first
