"""Level replay: its chances against the formula by hand, its scores against a slow twin, and what it does to a run."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import headstart as hs
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.errors import RunError, UsageError
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import level_replay as plr
from headstart.protocol.level_replay import LevelReplay

SUITE = hs.suite("bandit:arms=2,pulls=3")
CONFIG = PPOConfig(NetworkConfig(torso=(4,)), unroll=4, epochs=1, minibatches=1)


def known(score: list[float], seen: list[int], stamp: list[int], begun: int) -> plr.Scores:
    m = len(score)
    return plr.init(m, 1)._replace(
        score=jnp.array(score),
        seen=jnp.array(seen, bool),
        stamp=jnp.array(stamp, jnp.int32),
        begun=jnp.int32(begun),
    )


def test_the_chances_are_the_paper_s_by_hand() -> None:
    """Scores .1 .5 .3 have ranks 3 1 2; with β = 1/2 weights 1/9, 1, 1/4. Ages 0, 2, 6. One level of four is unseen."""
    state = known([0.1, 0.5, 0.3, 9.0], [1, 1, 1, 0], [10, 8, 4, 0], 10)
    found = plr.chances(state, LevelReplay(True, temperature=0.5, staleness=0.1))
    by_rank = np.array([1 / 9, 1, 1 / 4]) / (1 / 9 + 1 + 1 / 4)
    by_age = np.array([0, 2, 6]) / 8
    np.testing.assert_allclose(found, [*(0.75 * (0.9 * by_rank + 0.1 * by_age)), 0.25], rtol=1e-6)


def test_the_paper_s_temperature_gives_the_second_a_thousandth_of_the_first() -> None:
    state = known([1.0, 2.0, 3.0], [1, 1, 1], [5, 5, 5], 5)
    found = plr.chances(state, LevelReplay(True, staleness=0.0))
    np.testing.assert_allclose(
        found, np.array([3.0**-10, 2.0**-10, 1]) / (1 + 2.0**-10 + 3.0**-10), rtol=1e-5
    )


@pytest.mark.parametrize(("seen", "wanted"), [([0, 0, 0, 0], [0.25] * 4), ([1, 1, 0, 0], [0.25] * 4)])
def test_levels_not_seen_yet_come_evenly(seen: list[int], wanted: list[float]) -> None:
    """Nothing seen: uniform. Half seen, by age alone and just begun: evenly among those, evenly among the others."""
    found = plr.chances(known([0.0] * 4, seen, [3] * 4, 3), LevelReplay(True, staleness=1.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_chances_add_up_to_one_whatever_is_known() -> None:
    rng = np.random.default_rng(0)
    chances = jax.jit(lambda state: plr.chances(state, LevelReplay(True)))
    for _ in range(20):
        seen, stamp = rng.integers(0, 2, 50), rng.integers(0, 9, 50)
        found = np.asarray(chances(known(list(rng.random(50)), list(seen), list(stamp), 9)))
        assert found.sum() == pytest.approx(1.0, abs=1e-5)
        assert found.min() >= 0.0
        assert found[seen == 0].sum() == pytest.approx(1.0 - seen.mean(), abs=1e-5)


def test_scores_against_a_slow_twin() -> None:
    """Episodes of random lengths over several rollouts, drawn from five levels in three lanes."""
    rng = np.random.default_rng(1)
    m, t, n = 5, 6, 3
    state, update = plr.init(m, n), jax.jit(plr.update)
    row = rng.integers(0, m, n)
    score, seen, stamp, begun = np.zeros(m), np.zeros(m, bool), np.zeros(m, int), 0
    open_ends: list[list[float]] = [[] for _ in range(n)]
    before = np.ones(n, bool)
    for _ in range(8):
        rows, last = np.zeros((t + 1, n), np.int32), rng.random((t, n)) < 0.25
        advantage = rng.normal(size=(t, n)).astype(np.float32)
        ended: dict[int, list[float]] = {}
        fresh: list[int] = []
        for i in range(t):
            rows[i] = row
            for lane in range(n):
                open_ends[lane].append(abs(float(advantage[i, lane])))
                if last[i, lane]:
                    ended.setdefault(int(row[lane]), []).append(float(np.mean(open_ends[lane])))
                    open_ends[lane] = []
                    row[lane] = rng.integers(m)
                    fresh.append(int(row[lane]))
        rows[t] = row
        begun += len(fresh)
        for level, means in ended.items():
            score[level], seen[level] = np.mean(means), True
        stamp[fresh] = begun
        first, before = np.stack([before, *last[:-1]]), last[-1]
        state = update(state, jnp.array(rows), jnp.array(first), jnp.array(last), jnp.array(advantage))
        np.testing.assert_allclose(state.score, score, rtol=1e-5)
        np.testing.assert_array_equal(state.seen, seen)
        np.testing.assert_array_equal(state.stamp, stamp)
        assert int(state.begun) == begun


def test_a_run_returns_to_the_level_that_surprises() -> None:
    """Seven levels pay nothing, one pays at random, and what is paid is what surprises."""
    env = Trial(Bandit(2), 3)
    pay = np.zeros((8, 2), np.float32)
    pay[5] = 0.5
    config = dataclasses.replace(CONFIG, lr=0.0)
    agent = agents.entry("ppo").build(env.spec, config)
    agent = agent._replace(advantage=lambda state, rollout: rollout.transitions.reward)
    played = {}
    for on in (False, True):
        chosen = plr.choosing(agent, LevelReplay(on), SUITE, 8)
        carry = jit.start(chosen, env, BanditTask(pay), jr.key(0), 32)
        carry, log = jit.chunk(chosen, env, BanditTask(pay), carry, jr.key(1), 60)
        # a level's rows: pay comes from the fifth alone, 1.5 a trial
        played[on] = float(log.returns[30:].sum()) / int(log.episodes[30:].sum()) / 1.5
    assert played[False] == pytest.approx(1 / 8, abs=0.05)
    assert played[True] > 0.7


SMALL: dict[str, Any] = {
    "suite": "bandit:arms=2,pulls=4",
    "agent": "ppo",
    "steps": 512,
    "lanes": 8,
    "tasks": 6,
    "chunks": 4,
    "evaluate_on": 0,
}


def test_a_run_that_was_stopped_goes_on_with_its_scores(tmp_path: Path) -> None:
    replay = LevelReplay(on=True)
    whole = hs.train(None, CONFIG, **SMALL, level_replay=replay, run=tmp_path / "whole")

    def stop(progress: Any) -> None:
        if progress.steps >= 256:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="interrupted"):
        hs.train(None, CONFIG, stop, **SMALL, level_replay=replay, run=tmp_path / "cut")
    with pytest.raises(UsageError, match="another level_replay"):
        hs.train(None, CONFIG, **SMALL, run=tmp_path / "cut", resume=True, level_replay=LevelReplay())
    cut = hs.train(None, CONFIG, **SMALL, level_replay=replay, run=tmp_path / "cut", resume=True)
    plain = hs.train(None, CONFIG, **SMALL)
    leaves = [jax.tree.leaves(t.prior.state) for t in (whole, cut, plain)]
    assert all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))


def test_off_there_is_nothing_of_it_in_a_run() -> None:
    env = Trial(Bandit(2), 3)
    agent = agents.entry("ppo").build(env.spec, CONFIG)
    assert plr.choosing(agent, LevelReplay(), SUITE, None) is agent
    carry = jax.eval_shape(
        lambda: jit.start(agent, env, BanditTask(np.ones((2, 2), np.float32)), jr.key(0), 4)
    )
    assert carry.curriculum == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": None}, "level replay needs a finite training set of bandit"),
        ({"agent": "rainbow"}, "level replay needs an agent that estimates advantages"),
    ],
)
def test_what_cannot_be_replayed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hs.train(**(SMALL | {"steps": 10_000} | changes), level_replay=LevelReplay(on=True))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="temperature is positive, not 0"):
        LevelReplay(temperature=0.0)
    with pytest.raises(UsageError, match="staleness is between 0 and 1, not 2"):
        LevelReplay(staleness=2.0)
