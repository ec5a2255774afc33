"""Memory cells against NumPy twins and against themselves in other scans; torsos on every observation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.errors import UsageError
from headstart.nets import memories
from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.nets.torsos import Torso
from headstart.ops.distributions import Categorical, DiagNormal, MultiCategorical
from headstart.types import Box, Discrete, MultiDiscrete, Spec

T, N, IN, SIZE, CONTEXT = 7, 3, 4, 5, 2
X = jr.normal(jr.key(1), (T, N, IN))
FIRST = jnp.zeros((T, N), bool).at[0, 0].set(True).at[3, 1].set(True).at[jnp.array([2, 6]), 2].set(True)


def cell_of(name: Any) -> Any:
    """A cell whose weights, biases included, are all random; fast weights with a context are "fast-in-context"."""
    name, _, context = name.partition("-")
    cell = memories.make_cell(name, jr.key(0), IN, SIZE, context=CONTEXT if context else 0)
    leaves, tree = jax.tree.flatten(cell)
    keys = jr.split(jr.key(2), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.3 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


def held(cell: Any) -> Any:
    """A memory that is not empty."""
    return jax.tree.map(lambda x: x + 0.5 * jr.normal(jr.key(3), x.shape), memories.start(cell, N))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_gru(cell: Any, h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w, u, b = (np.split(np.asarray(leaf, np.float64), 3) for leaf in (cell.input, cell.recurrent, cell.bias))
    r = sigmoid(w[0] @ x + u[0] @ h + b[0])
    z = sigmoid(w[1] @ x + u[1] @ h + b[1])
    c = np.tanh(w[2] @ x + b[2] + r * (u[2] @ h + np.asarray(cell.bias_c)))
    h = z * h + (1 - z) * c
    return h, h


def numpy_lstm(cell: Any, state: Any, x: np.ndarray) -> tuple[Any, np.ndarray]:
    w, u, b = (np.split(np.asarray(leaf, np.float64), 4) for leaf in (cell.input, cell.recurrent, cell.bias))
    h, c = state
    i, f, g, o = (w[k] @ x + u[k] @ h + b[k] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def numpy_linear(cell: Any, state: Any, x: np.ndarray) -> tuple[Any, np.ndarray]:
    w, b = (np.split(np.asarray(leaf, np.float64), 3) for leaf in (cell.input, cell.bias))
    z = sigmoid(w[0] @ x + b[0])
    h = (1 - z) * state + z * (w[1] @ x + b[1])
    gate = w[2] @ x + b[2]
    return h, h * gate * sigmoid(gate)


def numpy_fast(cell: Any, state: Any, x: np.ndarray) -> tuple[Any, np.ndarray]:
    """Slot by slot."""
    a, w, r, s = (np.asarray(leaf, np.float64) for leaf in (cell.address, cell.input, cell.recall, cell.skip))
    before, table, context = state
    if cell.context is not None:
        context, seen = numpy_linear(cell.context, context, x)
        x = np.concatenate([x, seen])
    here = np.exp(a @ x)
    here /= here.sum()
    known = sum(share * row for share, row in zip(here, table, strict=True))
    gates = w @ x + r @ known + np.asarray(cell.bias, np.float64)
    g, v = sigmoid(gates[:SIZE]), np.tanh(gates[SIZE:])
    held_before = sum(share * row for share, row in zip(before, table, strict=True))
    table = np.array([row + share * g * (v - held_before) for share, row in zip(before, table, strict=True)])
    return (here, table, context), here @ table + s @ x


TWINS = {"gru": numpy_gru, "lstm": numpy_lstm, "linear": numpy_linear, "fast": numpy_fast}
TWINS |= {"fast-in-context": numpy_fast}


@pytest.mark.parametrize("name", TWINS)
def test_a_cell_equals_its_numpy_twin(name: str) -> None:
    cell = cell_of(name)
    memory, y = memories.unroll(cell, held(cell), X, FIRST, parallel=False)
    for lane in range(N):
        state = jax.tree.map(lambda leaf, lane=lane: np.asarray(leaf[lane], np.float64), held(cell))
        for t in range(T):
            if FIRST[t, lane]:
                state = jax.tree.map(np.zeros_like, state)
            state, out = TWINS[name](cell, state, np.asarray(X[t, lane], np.float64))
            assert_allclose(y[t, lane], out, atol=1e-5)
        jax.tree.map(lambda a, b, lane=lane: assert_allclose(a[lane], b, atol=1e-5), memory, state)


@pytest.mark.parametrize("name", TWINS)
def test_an_unroll_equals_repeated_steps(name: Any) -> None:
    spec = Spec(Box((IN,)), Discrete(2), 9)
    name, _, context = name.partition("-")
    config = NetworkConfig(
        torso=(6,), memory=name, memory_size=SIZE, memory_context=CONTEXT if context else 0
    )
    network = ActorCritic(jr.key(0), spec, config)
    memory = network.start(N)
    after, features = jax.jit(lambda m: network.unroll(m, X, FIRST))(memory)
    step = jax.jit(lambda m, x, first: network.step(m, x, first))
    for t in range(T):
        memory, stepped = step(memory, X[t], FIRST[t])
        assert_allclose(stepped.actor, features.actor[t], atol=1e-6)
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), memory, after)


def test_a_parallel_scan_equals_a_serial_one_with_its_gradients() -> None:
    cell = cell_of("linear")

    def loss(cell: Any, memory: Any, x: Any, parallel: bool) -> Any:
        after, y = memories.unroll(cell, memory, x, FIRST, parallel)
        return jnp.sin(y).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(after)), (after, y)

    sides = [
        jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), static_argnums=3)(cell, held(cell), X, p)
        for p in (False, True)
    ]
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5), *sides)


@pytest.mark.parametrize(
    ("name", "parallel"),
    [
        ("gru", False),
        ("lstm", False),
        ("linear", False),
        ("linear", True),
        ("fast", False),
        ("fast-in-context", False),
    ],
)
def test_nothing_passes_a_reset(name: str, parallel: bool) -> None:
    cell = cell_of(name)
    first = jnp.zeros((T, N), bool).at[4].set(True)

    def late(x: Any, memory: Any) -> Any:
        return memories.unroll(cell, memory, x, first, parallel)[1][4:].sum()

    by_x, by_memory = jax.grad(late, (0, 1))(X, held(cell))
    assert not by_x[:4].any()
    assert by_x[4:].all()
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_memory))


# Torsos -------------------------------------------------------------------------------------------------------


def test_a_torso_encodes_every_leaf_in_the_trees_order() -> None:
    spaces = {"b": (Box((2,)), Discrete(3)), "a": MultiDiscrete((2, 3))}
    torso = Torso(jr.key(0), spaces, (), "tanh")
    obs = {"b": (jnp.array([0.5, -2.0]), jnp.int32(2)), "a": jnp.array([1, 0])}
    assert torso(obs).tolist() == [0, 1, 1, 0, 0, 0.5, -2.0, 0, 0, 1]
    assert torso.size == 10


def test_bytes_are_scaled() -> None:
    torso = Torso(jr.key(0), Box((2, 2), 0.0, 255.0, np.uint8), (), "tanh")
    assert torso(jnp.array([[0, 255], [51, 102]], jnp.uint8)).tolist() == pytest.approx([0, 1, 0.2, 0.4])


def test_nothing_to_see_is_a_vector_of_length_zero() -> None:
    assert Torso(jr.key(0), (), (), "tanh")(()).shape == (0,)


def test_an_image_goes_through_convolutions() -> None:
    shape = (20, 24, 3)
    space = Box(shape, 0.0, 255.0, np.uint8)
    torso = Torso(jr.key(0), {"image": space, "speed": Box((2,))}, (8,), "relu")
    see = jax.jit(lambda obs: torso(obs))
    image = jr.randint(jr.key(1), shape, 0, 256).astype(jnp.uint8)
    y = see({"image": image, "speed": jnp.ones(2)})
    assert y.shape == (8,)
    assert not np.allclose(y, see({"image": 255 - image, "speed": jnp.ones(2)}))
    assert not np.allclose(y, see({"image": image, "speed": -jnp.ones(2)}))


@pytest.mark.parametrize(("shape", "size"), [((84, 84, 4), 7 * 7 * 64), ((30, 40, 3), 4 * 7 * 32)])
def test_the_convolutions_strides_go_by_the_images_size(shape: tuple[int, ...], size: int) -> None:
    torso = Torso(jr.key(0), Box(shape, 0.0, 255.0, np.uint8), (), "relu")
    seen = jax.eval_shape(torso, jax.ShapeDtypeStruct(shape, np.uint8))
    assert seen.shape == (torso.size,) == (size,)


def test_a_heads_distribution_is_that_of_the_action_space() -> None:
    config = NetworkConfig(torso=(4,))
    kinds = {Discrete(3): Categorical, MultiDiscrete((2, 3)): MultiCategorical, Box((2,)): DiagNormal}
    for space, kind in kinds.items():
        network = ActorCritic(jr.key(0), Spec(Box((IN,)), space, 9), config)
        _, features = network.unroll((), X, FIRST)
        policy = network.policy(features)
        assert isinstance(policy, kind)
        assert policy.entropy().shape == (T, N)
        assert network.value(features, None).shape == (T, N)


def test_only_a_privileged_critic_sees_the_privileged() -> None:
    spec = Spec(Box((IN,)), Discrete(2), 9, privileged=(Box((2,)), Discrete(3)))
    seen = jr.normal(jr.key(4), (T, N, 2)), jnp.ones((T, N), jnp.int32)
    other = (seen[0] + 1.0, seen[1])
    for privileged in (False, True):
        network = ActorCritic(jr.key(0), spec, NetworkConfig(torso=(4,), privileged=privileged))
        _, features = network.unroll((), X, FIRST)
        differs = network.value(features, seen) != network.value(features, other)
        assert bool(differs.all()) is privileged
        assert bool(differs.any()) is privileged


def test_fast_weights_hold_apart_what_was_seen_in_different_places() -> None:
    """With sharp addresses, a gate wide open and a value that is plainly the input's, a table of what followed where."""
    places, size = 3, 2
    cell = memories.make_cell("fast", jr.key(0), places + size, size, slots=places)
    value = jnp.concatenate([jnp.zeros((size, places)), jnp.eye(size)], axis=1)
    cell = eqx.tree_at(
        lambda c: (c.address, c.input, c.recall, c.bias, c.skip),
        cell,
        (
            50.0 * jnp.eye(places, places + size),
            jnp.concatenate([jnp.zeros_like(value), value]),
            jnp.zeros_like(cell.recall),
            jnp.concatenate([jnp.full(size, 50.0), jnp.zeros(size)]),
            jnp.zeros_like(cell.skip),
        ),
    )
    visits, seen = [0, 1, 2, 1, 0, 2], np.linspace(-0.9, 0.9, 12).reshape(6, 2)
    memory, known = memories.start(cell, 1), {place: np.zeros(size) for place in range(places)}
    for t, (place, value_t) in enumerate(zip(visits, seen, strict=True)):
        x = jnp.concatenate([jax.nn.one_hot(place, places), jnp.asarray(value_t, jnp.float32)])
        memory, y = jax.vmap(cell)(memory, x[None], jnp.array([t == 0]))
        if t:  # what is seen now followed from where one was
            known[visits[t - 1]] = np.tanh(value_t)
        assert_allclose(y[0], known[place], atol=1e-5)


@pytest.mark.parametrize("given", [{"memory_slots": 24}, {"memory_context": 8}])
@pytest.mark.parametrize("memory", ["none", "gru", "linear"])
def test_what_fast_weights_alone_have_is_refused_elsewhere(memory: Any, given: dict[str, int]) -> None:
    assert NetworkConfig(memory="fast", **given)
    with pytest.raises(UsageError, match=f"the memory is {memory}; set memory to fast"):
        NetworkConfig(memory=memory, **given)


def test_a_linear_recurrence_begins_with_its_output_gate_open() -> None:
    cell = memories.make_cell("linear", jr.key(0), IN, SIZE)
    memory, y = memories.unroll(cell, memories.start(cell, N), X, FIRST, parallel=False)
    assert_allclose(y[-1], memory, rtol=1e-6)
