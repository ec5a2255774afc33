"""Aids to fine-tuning: each does what it says, by closed forms and twins; without any, nothing changes by a bit."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from headstart import agents, suites
from headstart.agents import _policy_gradient as pg
from headstart.agents import ppo
from headstart.agents.fine_tuning import Aids, Kickstarted, fine_tuned
from headstart.agents.ppo import PPOConfig
from headstart.agents.rainbow import RainbowConfig
from headstart.errors import UsageError
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.nets.q_network import QNetworkConfig
from headstart.protocol import adaptation, contenders
from headstart.protocol.adaptation import AdaptOptions, Contender, adapt
from headstart.protocol.priors import Prior
from headstart.protocol.tuning import Tuning
from headstart.results import Result
from headstart.tasks import Split
from headstart.types import Entry, Rollout

SUITE = suites.suite("bandit:arms=3,pulls=4")
SPEC = SUITE.env.spec
NETWORK = NetworkConfig(torso=(4,), memory="gru", memory_size=4)
CONFIG = PPOConfig(NETWORK, unroll=6, epochs=1, minibatches=1, lr=0.05, max_grad_norm=1e6)
LANES = 8
STEPS = LANES * CONFIG.unroll


@pytest.fixture(scope="module")
def tasks() -> Any:
    return SUITE.split("valid", 4).tasks


@pytest.fixture(scope="module")
def trained() -> Any:
    """The state of an agent that has opinions: weights, of the policy's head above all, at which it is far from uniform."""
    state = ppo.ppo(SPEC, CONFIG).init(jr.key(7))
    network = jax.tree.map(lambda x: 4 * x, state.network)
    opinions = 50 * network.policy_head.weight
    return state._replace(network=eqx.tree_at(lambda n: n.policy_head.weight, network, opinions))


class Lesson(NamedTuple):
    """A learner that has adopted a prior, the rollout it played, with what it remembers after, and what it has learned."""

    before: Any
    memory: Any
    rollout: Rollout
    after: Any


@functools.cache
def _lesson(aids: Aids) -> Callable[..., Lesson]:
    agent = fine_tuned(SPEC, CONFIG, aids)

    def go(trained: Any, tasks: Any, steps: Any) -> Lesson:
        before = agent.adopt(agent.init(jr.key(3)), trained)
        if aids.kickstart:
            before = before._replace(learner=before.learner._replace(steps=steps))
        carry = jit.start(agent, SUITE.env, tasks, jr.key(0), LANES)._replace(agent=before)
        carry, rollout, _ = jit.rollout(agent, SUITE.env, tasks, carry, jr.key(1))
        return Lesson(before, carry.memory, rollout, agent.update(before, rollout, jr.key(2))[0])

    return jax.jit(go)


def lesson(aids: Aids, trained: Any, tasks: Any, steps: int = 0) -> Lesson:
    """One update of a learner with some aids, `steps` after its beginning."""
    return _lesson(aids)(trained, tasks, jnp.int32(steps))


def grown(aids: Aids, trained: Any, tasks: Any, steps: int = 0) -> tuple[Any, Any]:
    """The learner's own state before and after the update."""
    found = lesson(aids, trained, tasks, steps)
    return tuple(s.learner if isinstance(s, Kickstarted) else s for s in (found.before, found.after))


def moved(before: Any, after: Any) -> list[Any]:
    return [b - a for a, b in zip(*map(jax.tree.leaves, (before.network, after.network)), strict=True)]


def test_without_aids_it_is_the_learner_bit_for_bit(trained: Any, tasks: Any) -> None:
    agent = agents.entry("ppo").build(SPEC, CONFIG)

    def go(trained: Any, tasks: Any) -> Any:
        before = agent.adopt(agent.init(jr.key(3)), trained)
        carry = jit.start(agent, SUITE.env, tasks, jr.key(0), LANES)._replace(agent=before)
        _, rollout, _ = jit.rollout(agent, SUITE.env, tasks, carry, jr.key(1))
        return agent.update(before, rollout, jr.key(2))[0]

    plain = jax.jit(go)(trained, tasks)
    for a, b in zip(*map(jax.tree.leaves, (plain, grown(Aids(), trained, tasks)[1])), strict=True):
        assert_array_equal(a, b)


def test_a_warm_up_scales_the_step(trained: Any, tasks: Any) -> None:
    """One step of Adam is proportional to its size: after n of w steps it is n / w of the plain one."""
    whole = moved(*grown(Aids(), trained, tasks))
    part = moved(*grown(Aids(warm_up_steps=4 * STEPS), trained, tasks))
    for a, b in zip(whole, part, strict=True):
        assert_allclose(b, 0.25 * a, rtol=1e-4, atol=1e-6)
    assert max(float(jnp.abs(a).max()) for a in whole) > 0.01, "or there would be nothing to scale"


def test_fresh_heads_are_a_fresh_agents_and_all_before_them_the_priors(trained: Any) -> None:
    agent = fine_tuned(SPEC, CONFIG, Aids(fresh_heads=True))
    fresh = agent.init(jr.key(3))
    tuned = agent.adopt(fresh, trained)
    for head in ("policy_head", "value_head"):
        assert_array_equal(getattr(tuned.network, head).weight, getattr(fresh.network, head).weight)
        assert not np.array_equal(getattr(tuned.network, head).weight, getattr(trained.network, head).weight)
    rest: Callable[[Any], Any] = lambda n: (n.torso, n.memory, n.actor_mlp, n.critic_mlp)
    for a, b in zip(*map(jax.tree.leaves, map(rest, (tuned.network, trained.network))), strict=True):
        assert_array_equal(a, b)


def test_fresh_heads_of_rainbow() -> None:
    config = RainbowConfig(QNetworkConfig((8, 8)), capacity=256, warm_up=64, atoms=5)
    agent = fine_tuned(SPEC, config, Aids(fresh_heads=True))
    fresh, trained = agent.init(jr.key(0)), agent.init(jr.key(1))
    tuned = agent.adopt(fresh, trained)
    for network in (tuned.online, tuned.target):
        assert eqx.tree_equal(network.layers[-1], fresh.online.layers[-1])
        assert eqx.tree_equal(network.layers[:-1], trained.online.layers[:-1])


def _divergence(network: Any, prior: Any, rollout: Rollout) -> Any:
    """KL(prior || policy) over a rollout, each with a memory of its own, by hand."""
    steps = rollout.transitions
    policies: list[Any] = []
    for each in (prior, network):
        _, features = each.unroll(each.start(LANES), steps.obs, steps.first)
        policies.append(jax.nn.log_softmax(each.policy(features).logits))
    p, q = policies
    return (jnp.exp(p) * (p - q)).sum(axis=-1).mean()


TEACHER = Aids(kickstart=3.0, kickstart_steps=100, fresh_heads=True)


def test_kickstarting_adds_the_gradient_of_the_divergence(
    trained: Any, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With plain gradient steps the update with a teacher, less that without, is -lr w times the gradient of KL; halfway
    half of the weight is left, and in the end nothing.
    """
    lr = 0.05

    def plain(_: Any, gradient: Any, state: Any, weights: Any, __: Any) -> tuple[Any, Any]:
        return weights - lr * gradient, state

    monkeypatch.setattr(pg, "descend", plain)
    aids = dataclasses.replace(TEACHER, warm_up_steps=1)  # a program of its own, with this step
    start = lesson(aids, trained, tasks)
    network = start.before.learner.network
    slope = jax.jit(jax.grad(lambda n: _divergence(n, trained.network, start.rollout)))(network)
    final = moved(*grown(aids, trained, tasks, 100))
    for steps, weight in ((0, 3.0), (50, 1.5)):
        pulled = [a - b for a, b in zip(moved(*grown(aids, trained, tasks, steps)), final, strict=True)]
        for a, b in zip(pulled, jax.tree.leaves(slope), strict=True):
            assert_allclose(a, -lr * weight * b, rtol=0.01, atol=1e-5)
    assert max(float(jnp.abs(b).max()) for b in jax.tree.leaves(slope)) > 0.01


def test_the_teacher_never_learns_and_remembers_for_itself(trained: Any, tasks: Any) -> None:
    found = lesson(TEACHER, trained, tasks)
    assert eqx.tree_equal(found.after.teacher, trained.network)
    steps = found.rollout.transitions
    remembered, features = trained.network.unroll(trained.network.start(LANES), steps.obs, steps.first)
    assert_allclose(found.memory.teacher, remembered, rtol=1e-5, atol=1e-6)
    assert_allclose(
        steps.extras.teacher.logits, trained.network.policy(features).logits, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "aids", "said"),
    [
        ("rainbow", Aids(kickstart=1.0), "kickstarting is an aid for ppo and rl2 alone"),
        ("rainbow", Aids(warm_up_steps=5), "a warm-up is an aid for ppo and rl2 alone"),
        ("a2c", Aids(fresh_heads=True), "fresh heads is an aid for ppo, rl2 and rainbow alone"),
    ],
)
def test_what_takes_no_aid_says_so(name: str, aids: Aids, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fine_tuned(SPEC, agents.entry(name).config, aids)


# In the protocol ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _built_once() -> Iterator[None]:
    """One PPO for one config, so that runs share their compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "ENTRY", Entry(ppo.ENTRY.config, functools.cache(ppo.ppo)))
        yield


OPTIONS = AdaptOptions(budget=960, lanes=2, seeds=(0, 1), points=4)


def _prior(trained: Any, steps: int, seed: int = 1) -> Prior:
    """Priors of different quality: this one always wants the same arm."""
    arm = jnp.zeros(3).at[seed % 3].set(20.0)
    network = eqx.tree_at(lambda n: n.policy_head.bias, trained.network, arm)
    return Prior("ppo", CONFIG, trained._replace(network=network), SUITE.name, "f", 5, steps, 7)


@pytest.fixture(scope="module")
def split() -> Split:
    return SUITE.split("test", 3)


def _tuned(split: Split, trained: Any, tuning: Tuning, **changes: Any) -> list[Result]:
    priors = [_prior(trained, 10 * (1 + i), i) for i in range(3)]
    who = Contender("tuned", "ppo", CONFIG, priors[0], others=tuple(priors[1:]))
    return adapt(SUITE, who, dataclasses.replace(OPTIONS, tuning=tuning, **changes), split)


def test_of_several_priors_the_best_on_the_task_is_kept_and_tries_cost(split: Split, trained: Any) -> None:
    found = _tuned(split, trained, Tuning(tries=3, try_share=0.1))
    (means,) = map(np.asarray, jax.tree.leaves(split.tasks))
    for result in found:
        tried = result.facts["tried"]
        assert list(tried) == ["10", "20", "30"]
        assert result.prior is not None
        best = max(tried, key=tried.get)
        assert result.prior["steps"] == int(best)
        # each prior only ever pulls one arm, so that its score is that arm's mean but for luck (96 pulls, 4 a trial)
        for arm, score in enumerate(tried.values()):
            assert score / 4 == pytest.approx(means[result.facts["row"]][arm], abs=0.2)
        # 3 tries of 8 updates of 12 steps are 288 of 960 steps; 56 updates are left
        assert (result.spent, result.budget) == (960, 960)
        assert result.curve is not None
        assert result.curve.steps[:4] == [96, 192, 288, 288 + 14 * 12]
        assert sum(result.facts["counts"]) * 4 == result.facts["episodes"] == 960
        assert result.facts["tuning"] == {"tries": 3, "try_share": 0.1}
    assert len({result.prior["steps"] for result in found if result.prior}) > 1, (
        "tasks differ in what is best"
    )


def test_one_try_is_none(split: Split, trained: Any) -> None:
    (plain, *_), (same, *_) = (_tuned(split, trained, t) for t in (Tuning(), Tuning(tries=1, try_share=0.3)))
    assert plain.scores == same.scores
    assert "tried" not in same.facts
    assert "tuning" not in same.facts


def test_each_aid_reaches_the_learner_and_its_name_the_result(split: Split, tmp_path: Any) -> None:
    fresh = ppo.ppo(SPEC, CONFIG).init(jr.key(7))  # unsure enough to learn
    prior = dataclasses.replace(_prior(fresh, 10, 0), state=fresh)

    def tuned(tuning: Tuning) -> list[Result]:
        options = dataclasses.replace(OPTIONS, tuning=tuning, seeds=(0,), run=tmp_path)
        return adapt(SUITE, Contender("tuned", "ppo", CONFIG, prior), options, split)

    plain = tuned(Tuning())
    for tuning in (Tuning(kickstart=5.0, kickstart_share=1.0), Tuning(fresh_heads=True), Tuning(warm_up=1.0)):
        helped = tuned(tuning)
        assert [r.scores for r in helped] != [r.scores for r in plain], tuning
        assert helped[0].facts["tuning"] == tuning.facts
        again = tuned(tuning)
        assert [r.scores for r in again] == [r.scores for r in helped]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tuned",
        "tuned-fresh-heads",
        "tuned-kickstart-5-kickstart-share-1",
        "tuned-warm-up-1",
    ]


def test_a_runner_past_its_budget_is_stopped_by_the_meter_and_keeps_its_result(
    split: Split, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of = contenders.plan_of

    def greedy(*args: Any) -> Any:
        plan = plan_of(*args)
        return plan._replace(updates=2 * plan.updates)

    whole = _tuned(split, trained, Tuning(), points=8)
    monkeypatch.setattr(adaptation, "plan_of", greedy)
    found = _tuned(split, trained, Tuning(), points=16)
    for stopped, fair in zip(found, whole, strict=True):
        assert "steps were asked for with 0 of 960 left" in stopped.facts["stopped"]
        assert (stopped.spent, stopped.scores) == (fair.spent, fair.scores)
        assert "stopped" not in fair.facts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kickstart": -1.0}, "kickstart is a weight of at least 0, not -1.0"),
        (
            {"kickstart_share": 0.0},
            "kickstart_share is a share of the budget, more than 0 and at most 1, not 0.0",
        ),
        ({"warm_up": 2.0}, "warm_up is a share of the budget, at least 0 and at most 1, not 2.0"),
        ({"tries": 0}, "tries is at least 1, not 0"),
        ({"tries": 10, "try_share": 0.1}, "10 tries of 0.1 of the budget each leave nothing to learn in"),
    ],
)
def test_tuning_out_of_range(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Tuning(**changes)
