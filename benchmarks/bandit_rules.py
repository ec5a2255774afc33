"""The bandit rules against the published table of RL² (Duan et al. 2016, arXiv:1611.02779, table 1).

    python -m benchmarks.bandit_rules --optimum   the Bayes-optimal value: exact at 10 pulls, estimated at 100
    python -m benchmarks.bandit_rules --tune      the constants, on 4096 valid tasks, for each n/k and for all
    python -m benchmarks.bandit_rules --table     the rules on 10 000 test tasks, tuned and with defaults
    python -m benchmarks.bandit_rules --variants  other versions of the rules on 10 000 test tasks
    python -m benchmarks.bandit_rules --twin      Thompson sampling in NumPy alone, with other priors
    python -m benchmarks.bandit_rules --markdown  the page's tables

Each writes its part of benchmarks/results/bandit_rules.json, from which docs/agents/bandit-rules.md is
written.
"""

import argparse
import json
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.agents import agent
from headstart.agents._arms import Counts, arms_of
from headstart.envs import lanes
from headstart.envs.revealed import Revealed
from headstart.suites import suite
from headstart.types import Agent, Env

RESULTS = Path(__file__).parent / "results" / "bandit_rules.json"
SETTINGS = [(n, k) for n in (10, 100, 500) for k in (5, 10, 50)]
PUBLISHED = {  # REFERENCES.md, section 3; the columns' order is that of SETTINGS
    "random": [5.0, 5.0, 5.1, 49.9, 49.9, 49.8, 249.8, 249.0, 249.6],
    "gittins": [6.6, 6.6, 6.5, 78.3, 82.8, 85.2, 405.8, 437.8, 463.7],
    "thompson": [5.7, 5.5, 5.2, 74.7, 76.7, 64.5, 402.0, 429.5, 427.2],
    "optimistic-thompson": [6.5, 6.2, 5.5, 77.9, 81.4, 67.7, 406.7, 438.9, 437.6],
    "ucb1": [6.7, 6.7, 6.6, 78.0, 82.4, 84.3, 405.8, 437.1, 457.6],
    "epsilon-greedy": [6.6, 6.6, 6.5, 75.4, 77.4, 78.3, 388.2, 408.0, 413.6],
    "greedy": [6.6, 6.6, 6.5, 74.8, 77.1, 78.0, 380.6, 395.0, 402.8],
}
GRID: dict[str, tuple[str, list[float]]] = {  # Gittins' discount γ is written as (1-γ) n
    "ucb1": ("width", [0.05, 0.1, 0.15, 0.2, 0.25]),
    "epsilon-greedy": ("epsilon", [0.0, 0.01, 0.02, 0.05]),
    "gittins": ("discount", [1.0, 2.0, 3.0]),
}
COSTLY = {  # tasks of the rule that samples all arms 20 times a pull, where 10 000 would take hours
    "10/50": 5000,
    "100/5": 2000,
    "100/10": 2000,
    "100/50": 500,
    "500/5": 1000,
    "500/10": 500,
    "500/50": 200,
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("optimistic-thompson", {"version": "floored", "samples": 1}),
    ("optimistic-thompson", {"version": "likeliest", "samples": 10}),
    ("ucb1", {"width": 1.0}),
]


# The Bayes-optimal value ------------------------------------------------------


def optimal_value(n: int, k: int) -> float:
    """The most that any rule can expect of n pulls of k Bernoulli arms, p ~ U(0, 1), by dynamic programming.

    Arms are exchangeable, so a state is the multiset of the pulled arms' (successes, failures).
    """

    @cache
    def value(state: tuple[tuple[int, int], ...]) -> float:
        left = n - sum(wins + losses for wins, losses in state)
        if left == 0:
            return 0.0
        options = []
        for arm in {*state, *([(0, 0)] if len(state) < k else [])}:
            wins, losses = arm
            rest = list(state)
            if arm != (0, 0):
                rest.remove(arm)
            p = (wins + 1) / (wins + losses + 2)
            won = value(tuple(sorted([*rest, (wins + 1, losses)])))
            lost = value(tuple(sorted([*rest, (wins, losses + 1)])))
            options.append(p * (1 + won) + (1 - p) * lost)
        return max(options)

    return value(())


def horizon_index(n: int, levels: int = 401) -> np.ndarray:
    """The index of a Bernoulli arm for an undiscounted horizon: `[remaining pulls, successes, failures]`.

        V_r(x, λ) = max(0, E[r | x] - λ + E[V_{r-1}(x', λ) | x]),    ν_r(x) = the λ where the second term is 0

    Not optimal for several arms, but hardly less (Kaufmann 2018, Annals of Statistics 46): it estimates
    the ceiling.
    """
    level = np.sin(np.linspace(0.0, np.pi / 2, levels)) ** 2
    wins, losses = np.arange(n + 1.0)[:, None, None], np.arange(n + 1.0)[None, :, None]
    p = (wins + 1) / (wins + losses + 2)
    value = np.zeros((n + 2, n + 2, levels))
    index = np.zeros((n + 1, n + 1, n + 1), np.float32)
    for remaining in range(1, n + 1):
        gain = p - level + p * value[1:, :-1] + (1 - p) * value[:-1, 1:]
        left = np.clip((gain > 0).sum(-1) - 1, 0, levels - 2)[..., None]
        g0, g1 = (np.take_along_axis(gain, left + i, -1)[..., 0] for i in (0, 1))
        index[remaining] = level[left[..., 0]] + (level[left + 1] - level[left])[..., 0] * g0 / (g0 - g1)
        value[:-1, :-1] = np.maximum(0.0, gain)
    return index


def _near_optimal(n: int, k: int) -> Agent:
    arms = arms_of(suite("bandit", arms=k, pulls=n).env.spec, "the index rule of a finite horizon")
    index = jnp.asarray(horizon_index(n))

    def act(state: Any, memory: Counts, timestep: Any, key: jax.Array) -> tuple[Counts, jax.Array, Any]:
        del state, key
        counts = arms.recall(memory, timestep)
        wins, pulls = (counts.total - 1).astype(jnp.int32), (counts.pulls - 2).astype(jnp.int32)
        remaining = n - pulls.sum(-1, keepdims=True)
        return counts, jnp.argmax(index[remaining, wins, pulls - wins], axis=-1), ()

    return Agent(lambda _: (), arms.memory, act)


def optimum(raw: dict[str, Any], tasks: int) -> None:
    exact = {f"10/{k}": round(optimal_value(10, k), 6) for k in (5, 10, 50)}
    part = raw.setdefault("optimum", {"exact": exact, "finite_horizon_index": {}})
    for n, k in SETTINGS[:6]:
        near = _summary(_score([_near_optimal(n, k)], n, k, "test", tasks)[0])
        part["finite_horizon_index"][f"{n}/{k}"] = near
        _save(raw, "index rule of the finite horizon", n, k, near)


# Playing ------------------------------------------------------


@partial(jax.jit, static_argnums=(0, 1))
def _play(rule: Agent, env: Env, state: Any, tasks: Any, key: jax.Array) -> jax.Array:
    n = jax.tree.leaves(tasks)[0].shape[0]
    k_reset, k_steps = jr.split(key)
    start = lanes.reset(env, tasks, k_reset, n, pinned=True)

    def step(carry: Any, t: jax.Array) -> tuple[Any, None]:
        lane, timestep, memory, total = carry
        k_act, k_env = jr.split(jr.fold_in(k_steps, t))
        memory, action, _ = rule.act(state, memory, timestep, k_act)
        lane, timestep = lanes.step(env, tasks, lane, action, k_env, pinned=True)
        return (lane, timestep, memory, total + timestep.reward), None

    carry = (*start, rule.memory(n), jnp.zeros(n))
    (_, _, _, total), _ = jax.lax.scan(step, carry, jnp.arange(env.spec.steps))
    return total


@cache
def _problem(n: int, k: int, role: Any, tasks: int) -> tuple[Env, Any]:
    played = suite("bandit", arms=k, pulls=n)
    return played.env, jax.tree.map(jnp.asarray, played.split(role, tasks).tasks)


def _score(
    rules: list[Agent], n: int, k: int, role: Any, tasks: int, oracle: bool = False
) -> list[np.ndarray]:
    """The total reward of a trial of each task, `[tasks]`; all rules share the tasks and the lanes' keys.

    The rules differ in their states only, so that one compiled program plays them all.
    """
    env, drawn = _problem(n, k, role, tasks)
    env = Revealed(env) if oracle else env
    states = [rule.init(jr.key(0)) for rule in rules]
    return [np.asarray(_play(rules[0], env, state, drawn, jr.key(2016)), np.float64) for state in states]


def evaluate(
    name: str, n: int, k: int, role: Any, tasks: int, *configs: dict[str, Any]
) -> list[dict[str, float]]:
    """Mean and standard error of an agent's total reward with each of these constants."""
    spec = _problem(n, k, role, tasks)[0].spec
    rules = [agent(name, spec, **config) for config in configs or ({},)]
    return [_summary(total) for total in _score(rules, n, k, role, tasks, oracle=name == "best-arm")]


def _summary(total: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(total.mean()), 4),
        "se": round(float(total.std(ddof=1) / np.sqrt(len(total))), 4),
    }


def _save(raw: dict[str, Any], *words: object) -> None:
    """Written after every line, so that a run cut short goes on where it stopped."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(raw, indent=1) + "\n")
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def _setting(name: str, value: float, n: int) -> dict[str, float]:
    """A grid's value as the agent's setting."""
    return {GRID[name][0]: 1 - value / n if name == "gittins" else value}


def tune(raw: dict[str, Any], tasks: int) -> None:
    part = raw.setdefault("tune", {"role": "valid", "tasks": tasks, "agents": {}})
    for name, (field, values) in GRID.items():
        rows = part["agents"].setdefault(name, {"field": field, "values": values, "mean": {}, "best": {}})
        for n, k in SETTINGS:
            if f"{n}/{k}" in rows["mean"]:
                continue
            configs = [_setting(name, value, n) for value in values]
            means = [row["mean"] for row in evaluate(name, n, k, "valid", tasks, *configs)]
            rows["mean"][f"{n}/{k}"] = means
            rows["best"][f"{n}/{k}"] = values[int(np.argmax(means))]
            _save(raw, "tune", name, n, k, rows["mean"][f"{n}/{k}"])
        relative = np.array([np.array(row) / max(row) for row in rows["mean"].values()])
        rows["default"] = values[int(relative.mean(0).argmax())]
        _save(raw, "default", name, rows["default"])


def table(raw: dict[str, Any], tasks: int) -> None:
    part = raw.setdefault("table", {"role": "test", "agents": {}})
    for i, (n, k) in enumerate(SETTINGS):
        for name in (*PUBLISHED, "best-arm"):
            rows, at = part["agents"].setdefault(name, {}), f"{n}/{k}"
            if at in rows:
                continue
            m = min(tasks, COSTLY.get(at, tasks)) if name == "optimistic-thompson" else tasks
            best = [_setting(name, raw["tune"]["agents"][name]["best"][at], n)] if name in GRID else []
            results = evaluate(name, n, k, "test", m, {}, *best)
            rows[at] = {"tasks": m, "default": results[0]}
            if best:
                rows[at]["tuned"] = results[1] | best[0]
            if name in PUBLISHED:
                rows[at]["published"] = PUBLISHED[name][i]
            _save(raw, name, at, rows[at])


def variants(raw: dict[str, Any], tasks: int) -> None:
    rows = raw.setdefault("variants", [])
    for name, config in VARIANTS:
        for n, k in SETTINGS[:6]:
            if any(r["agent"] == name and r["config"] == config and r["at"] == f"{n}/{k}" for r in rows):
                continue
            m = min(tasks, COSTLY.get(f"{n}/{k}", tasks)) if config.get("samples", 1) > 1 else tasks
            result = evaluate(name, n, k, "test", m, config)[0]
            rows.append({"agent": name, "config": config, "at": f"{n}/{k}", "tasks": m, **result})
            _save(raw, rows[-1])


def twin(raw: dict[str, Any], tasks: int) -> None:
    """Thompson sampling that shares no line with the agent, with Beta(b, b) for its prior, on tasks of its own."""
    rows = raw.setdefault("thompson_twin", [])
    for n, k in SETTINGS[:6]:
        for b in (0.5, 1.0, 2.0):
            if any(r["b"] == b and r["at"] == f"{n}/{k}" for r in rows):
                continue
            draw = np.random.default_rng([n, k])
            m = tasks * 10 // n
            lane, total, p = np.arange(m), np.zeros(m), draw.random((m, k))
            wins, losses = np.full((m, k), b), np.full((m, k), b)
            for _ in range(n):
                arm = draw.beta(wins, losses).argmax(axis=1)
                reward = draw.random(m) < p[lane, arm]
                wins[lane, arm] += reward
                losses[lane, arm] += ~reward
                total += reward
            rows.append({"b": b, "at": f"{n}/{k}", "tasks": m} | _summary(total))
            _save(raw, "twin", rows[-1])


def markdown(raw: dict[str, Any]) -> str:
    """The tables of docs/agents/bandit-rules.md: published and ours, constants, and what other versions give."""
    agents, tuned = raw["table"]["agents"], raw["tune"]["agents"]
    places = [f"{n}/{k}" for n, k in SETTINGS]

    def row(name: str, cells: list[str]) -> str:
        return f"| {name} | {' | '.join(cells)} |"

    lines = [row("n/k", places), "|-" * (len(places) + 1) + "|"]
    for name, rows in agents.items():
        ours = [rows[at].get("tuned", rows[at]["default"]) for at in places]
        if name in PUBLISHED:
            lines.append(row(f"`{name}`, published", [f"{rows[at]['published']:.1f}" for at in places]))
        lines.append(row(f"`{name}`", [f"{x['mean']:.2f} ± {x['se']:.2f}" for x in ours]))
        if name in PUBLISHED:
            gaps = [x["mean"] / rows[at]["published"] - 1 for x, at in zip(ours, places, strict=True)]
            lines.append(row("difference", [f"{gap:+.1%}" for gap in gaps]))
    lines += ["", row("n/k", places), "|-" * (len(places) + 1) + "|"]
    for name, rows in tuned.items():
        best = [rows["best"][at] for at in places]
        lines.append(row(f"`{name}`", [f"1 - {x:g}/n" if name == "gittins" else f"{x:g}" for x in best]))
        lost = [agents[name][at] for at in places]
        gaps = [x["default"]["mean"] / x["tuned"]["mean"] - 1 for x in lost]
        lines.append(row("the default instead", [f"{gap:+.1%}" for gap in gaps]))
    lines += ["", row("version", places[:6]), "|-" * 7 + "|"]
    found: dict[str, dict[str, str]] = {}
    for one in raw["variants"]:
        label = f"`{one['agent']}` " + ", ".join(f"{key} {value}" for key, value in one["config"].items())
        found.setdefault(label, {})[one["at"]] = f"{one['mean']:.2f} ± {one['se']:.2f}"
    for one in raw["thompson_twin"]:
        label = f"NumPy twin of `thompson`, Beta({one['b']:g}, {one['b']:g})"
        found.setdefault(label, {})[one["at"]] = f"{one['mean']:.2f} ± {one['se']:.2f}"
    lines += [row(label, [cells.get(at, "") for at in places[:6]]) for label, cells in found.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for part in ("optimum", "tune", "table", "variants", "twin", "markdown"):
        parser.add_argument(f"--{part}", action="store_true")
    chosen = parser.parse_args()
    raw: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if chosen.optimum:
        optimum(raw, 10_000)
    if chosen.tune:
        tune(raw, 4096)
    if chosen.table:
        table(raw, 10_000)
    if chosen.variants:
        variants(raw, 10_000)
    if chosen.twin:
        twin(raw, 100_000)
    if chosen.markdown:
        print(markdown(raw))


if __name__ == "__main__":
    main()
