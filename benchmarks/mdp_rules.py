"""The rules for tabular MDPs against the published table of RL² (Duan et al. 2016, arXiv:1611.02779).

    python -m benchmarks.mdp_rules --tune    the constants, on `valid` tasks
    python -m benchmarks.mdp_rules --test    the rules with the best constants, on `test` tasks
    python -m benchmarks.mdp_rules --speed   environment steps a second, random actions; drawing of tasks
    python -m benchmarks.mdp_rules --table   print the tables of docs/agents/mdp-rules.md

With --rules beb ucrl2 only these are tuned and tested.
A rule does not know how many episodes a trial has, so that one run of 100 episodes gives every column. Each run
is added to benchmarks/results/mdp_rules.json at once, and one that is already there is not repeated.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.agents import agent, entry
from headstart.envs import lanes
from headstart.envs.revealed import Revealed
from headstart.suites import suite
from headstart.types import Agent, Env, Task

RESULTS = Path(__file__).parent / "results" / "mdp_rules.json"
COLUMNS = (10, 25, 50, 75, 100)
EPISODES = COLUMNS[-1]
LANES = 250
PUBLISHED = {  # REFERENCES.md, section 3
    "random": [100.1, 250.2, 499.7, 749.9, 999.4],
    "mdp-greedy": [134.8, 368.8, 769.3, 1172.9, 1578.5],
    "mdp-epsilon-greedy": [132.8, 377.3, 823.3, 1293.9, 1778.2],
    "psrl": [138.1, 408.8, 904.4, 1417.1, 1939.5],
    "optimistic-psrl": [144.1, 425.2, 930.7, 1449.2, 1973.9],
    "ucrl2": [146.6, 424.1, 918.9, 1427.6, 1942.1],
    "beb": [150.2, 427.8, 917.8, 1422.6, 1935.1],
}
GRID: dict[str, tuple[str, list[float]]] = {
    "mdp-epsilon-greedy": ("epsilon", [0.02, 0.05, 0.1, 0.2]),
    "ucrl2": ("scale", [0.05, 0.1, 0.2, 0.3, 0.4]),
    "beb": ("beta", [3.0, 10.0, 20.0, 30.0, 40.0]),
    "optimistic-psrl": ("samples", [2, 5, 10]),
}
PRIORS = (0.0, 1.0)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("mdp-greedy", {"prior_mean": 0.0, "prior_count": 0.1}),
    ("mdp-epsilon-greedy", {"prior_mean": 0.0, "prior_count": 0.1, "epsilon": 0.05}),
    ("mdp-epsilon-greedy", {"prior_mean": 0.0, "prior_count": 0.1, "epsilon": 0.1}),
    ("ucrl2", {"prior_mean": 1.0, "scale": 1.0}),
]
TASKS = {"valid": 500, "test": 1000}
FEWER = {"beb": {"valid": 250, "test": 500}, "optimistic-psrl": {"valid": 250, "test": 500}}


def play(env: Env, rule: Agent, tasks: Task, key: jax.Array) -> jax.Array:
    """Summed reward by lane and episode `[N, K]`, lane i on task i."""
    n = jax.tree.leaves(tasks)[0].shape[0]
    k_reset, k_steps = jr.split(key)
    lane, timestep = lanes.reset(env, tasks, k_reset, n, pinned=True)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        lane, timestep, memory = carry
        k_act, k_step = jr.split(key)
        memory, action, _ = rule.act((), memory, timestep, k_act)
        lane, timestep = lanes.step(env, tasks, lane, action, k_step, pinned=True)
        return (lane, timestep, memory), timestep.reward

    start = (lane, timestep, rule.memory(n))
    _, reward = jax.lax.scan(step, start, jr.split(k_steps, env.spec.steps))
    return reward.reshape(env.spec.episodes, env.spec.horizon, n).sum(1).T


def run(name: str, role: str, setting: dict[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    """Play one rule on one split, unless that is known; the result is added to `known`, and saved."""
    count = FEWER.get(name, TASKS)[role]
    label = {"rule": name, "split": role, "tasks": count, "episodes": EPISODES, "setting": setting}
    for old in known:
        if label.items() <= old.items():
            return old
    chosen = suite("tabular-mdp", episodes=EPISODES)
    env = Revealed(chosen.env) if entry(name).revealed else chosen.env
    rule = agent(name, env.spec, **setting)
    split = chosen.split(role, count)  # pyright: ignore[reportArgumentType]
    playing = jax.jit(lambda tasks, key: play(env, rule, tasks, key))
    started = time.time()
    parts = []
    for i in range(0, count, LANES):
        tasks = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i : i + LANES]), split.tasks)
        parts.append(np.asarray(playing(tasks, jr.fold_in(jr.key(1), i))))
    total = np.concatenate(parts).astype(np.float64).cumsum(axis=1)[:, [n - 1 for n in COLUMNS]]
    result = label | {
        "fingerprint": split.fingerprint,
        "score": total.mean(0).round(3).tolist(),
        "stderr": (total.std(0, ddof=1) / count**0.5).round(3).tolist(),
        "seconds": round(time.time() - started, 1),
    }
    print(name, role, setting, result["score"], "±", result["stderr"], f"{result['seconds']} s", flush=True)
    known.append(result)
    save(
        {"columns": COLUMNS, "runs": [*load().get("runs", []), result]}
    )  # others may have been added meanwhile
    return result


def load() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save(part: dict[str, Any]) -> None:
    """Write the results, one run a line."""
    whole = load() | part
    lines = [f' "{key}": {json.dumps(value)}' for key, value in whole.items() if key != "runs"]
    runs = ",\n  ".join(json.dumps(one) for one in whole.get("runs", []))
    RESULTS.write_text("{\n" + ",\n".join([*lines, f' "runs": [\n  {runs}\n ]']) + "\n}\n")


def tuned(name: str, prior_mean: float, known: list[dict[str, Any]]) -> dict[str, Any]:
    """A rule's best setting on `valid`, by the mean over the columns of its share of the best score."""
    if name in ("random", "oracle"):
        return {}
    if name not in GRID:
        return {"prior_mean": prior_mean}
    option, values = GRID[name]
    tried = [{"prior_mean": prior_mean, option: value} for value in values]
    score = np.array([run(name, "valid", setting, known)["score"] for setting in tried])
    return tried[(score / score.max(0)).mean(1).argmax()]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _named(setting: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in setting.items())


def _against_published(name: str, one: dict[str, Any]) -> list[str]:
    """A run's scores and, in brackets, how far they are from the published ones."""
    cells = [f"{score:.1f} ± {error:.1f}" for score, error in zip(one["score"], one["stderr"], strict=True)]
    if name not in PUBLISHED:
        return cells
    gaps = np.array(one["score"]) / np.array(PUBLISHED[name]) - 1
    return [f"{cell} ({gap:+.1%})" for cell, gap in zip(cells, gaps, strict=True)]


def table(known: list[dict[str, Any]]) -> None:
    """The tables of the page, in Markdown."""
    head = [_row("rule", "setting", *(f"n = {n}" for n in COLUMNS)), "|-" * (2 + len(COLUMNS)) + "|"]
    print("\n".join(head))
    for name in [*PUBLISHED, "oracle"]:
        if name in PUBLISHED:
            print(_row(f"`{name}`", "published", *(f"{score:.1f}" for score in PUBLISHED[name])))
        tested = [one for one in known if (one["rule"], one["split"]) == (name, "test")]
        chosen = [tuned(name, prior, known) for prior in PRIORS] if name in PUBLISHED else []
        others = [setting for variant, setting in VARIANTS if variant == name]
        for one in sorted(tested, key=lambda one: str(one["setting"])):
            if not chosen or one["setting"] in [*chosen, *others]:
                label = "" if name in PUBLISHED else f"`{name}`"
                print(_row(label, _named(one["setting"]) or "ours", *_against_published(name, one)))
    print("\n" + "\n".join(head))
    for one in sorted(known, key=lambda one: (one["rule"], str(one["setting"]))):
        if one["split"] == "valid":
            print(
                _row(f"`{one['rule']}`", _named(one["setting"]), *(f"{score:.1f}" for score in one["score"]))
            )


def speed(n: int = 1024, steps: int = 1000) -> dict[str, float]:
    """Millions of environment steps a second, and seconds to draw 16 384 training tasks; best of 5."""
    chosen = suite("tabular-mdp")
    split = chosen.split("train")
    split.block(jr.key(0), 16_384)
    draws = []
    for seed in range(1, 6):
        started = time.perf_counter()
        tasks = jax.tree.map(jnp.asarray, split.block(jr.key(seed), 16_384))
        draws.append(time.perf_counter() - started)

    @jax.jit
    def walk(key: jax.Array) -> jax.Array:
        def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
            lane, total = carry
            k_act, k_step = jr.split(key)
            action = jr.randint(k_act, (n,), 0, 5)
            lane, timestep = lanes.step(chosen.env, tasks, lane, action, k_step)
            return (lane, total + timestep.reward), None

        lane, timestep = lanes.reset(chosen.env, tasks, key, n)
        return jax.lax.scan(step, (lane, timestep.reward), jr.split(key, steps))[0][1]

    walk(jr.key(0)).block_until_ready()
    times = []
    for seed in range(1, 6):
        started = time.perf_counter()
        walk(jr.key(seed)).block_until_ready()
        times.append(time.perf_counter() - started)
    return {"lanes": n, "million_steps_per_second": n * steps / min(times) / 1e6, "draw_seconds": min(draws)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("tune", "test", "speed", "table"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--rules", nargs="+", choices=["oracle", *PUBLISHED], default=["oracle", *PUBLISHED])
    chosen = parser.parse_args()
    known: list[dict[str, Any]] = load().get("runs", [])
    for name in chosen.rules:
        for prior in PRIORS:
            if chosen.tune:
                print(name, "is best with", tuned(name, prior, known), flush=True)
            if chosen.test:
                run(name, "test", tuned(name, prior, known), known)
        for variant, setting in VARIANTS:
            if chosen.test and variant == name:
                run(name, "test", setting, known)
    if chosen.speed:
        save({"speed": speed()})
        print(load()["speed"])
    if chosen.table:
        table(known)


if __name__ == "__main__":
    main()
