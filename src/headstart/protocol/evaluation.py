"""Score agents on tasks they have never seen, with common random numbers."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np

from headstart import agents, results, suites
from headstart.agents import entry
from headstart.envs.revealed import Revealed
from headstart.envs.trial import Trial
from headstart.errors import RunError, UsageError
from headstart.loops.evaluate import Played, play
from headstart.protocol import priors
from headstart.protocol.priors import Prior
from headstart.results import Result
from headstart.tasks import Role, Split, Suite
from headstart.types import Agent, AgentState, Env

_LOG = logging.getLogger("headstart")


class Contestant(NamedTuple):
    """Somebody ready to play: environment (revealed, for an oracle), agent, its state and settings, where it comes from."""

    name: str
    agent: Agent
    config: Any
    env: Env
    state: AgentState
    prior: Prior | None


def contestant(suite: Suite, who: str | Prior, seed: int = 0) -> Contestant:
    """Make ready an agent by name, a prior by name or file, or a prior itself.

    Raises:
      UsageError: for an unknown name, a learner that has learned nothing, or a prior for other spaces.
    """
    if isinstance(who, str) and who in agents.REGISTRY:
        found = entry(who)
        agent = _built(suite, who)
        if agent.learns:
            raise UsageError(
                f"{who} has to learn before it can be scored: train it and name its run folder, or pick one of "
                "`headstart list priors`."
            )
        env = Revealed(suite.env) if found.revealed else suite.env
        return Contestant(who, agent, found.config, env, agent.init(jr.key(seed)), None)
    prior = priors.find(who) if isinstance(who, str) else who
    name = prior.name or prior.agent
    built = prior.build(suite)
    if prior.suite != suite.name:
        _LOG.warning("%s was trained on %s and plays another suite, %s.", name, prior.suite, suite.name)
    return Contestant(name, built, prior.config, suite.env, prior.state, prior)


def _built(suite: Suite, who: str) -> Agent:
    """The agent of a name, or, if it cannot play the suite, the suite's own rule of like name suggested."""
    found = entry(who)
    try:
        return found.build(suite.env.spec, found.config)
    except UsageError as error:
        last = who.partition("-")[2]  # greedy on bandits is mdp-greedy on MDPs
        near = [rule for rule in suite.rules if rule in (last, f"mdp-{who}")]
        if not near:
            raise
        raise UsageError(f"{who} cannot play {suite.name}; did you mean {near[0]}?") from error


def facts(suite: Suite, played: Played) -> dict[str, Any]:
    """Figures beyond the score, where episodes can end before they would be cut off: how often they did, by episode
    index, and how often the second was shorter than the first, or equally long. Of a foreign simulator, how often it died;
    of a suite with a scale, where on it the score lies.
    """
    lengths, horizon = played.lengths, suite.env.spec.horizon
    episode = suite.env.env if isinstance(suite.env, Trial) else suite.env
    found: dict[str, Any] = {}
    if played.deaths is not None:
        found["deaths_in_scoring"] = played.deaths
    if suite.scale is not None:
        found["normalised"] = suite.scale.place(float(played.returns.mean()))
    if not episode.spec.truncates and np.all(lengths == horizon):
        return found
    found["finished_early"] = np.mean(lengths < horizon, axis=0).tolist()
    if lengths.shape[1] > 1:
        found["second_shorter"] = float(np.mean(lengths[:, 1] < lengths[:, 0]))
        found["second_equal"] = float(np.mean(lengths[:, 1] == lengths[:, 0]))
    return found


def check_seed(name: str, seed: int) -> None:
    """Refuse a seed that JAX would fold onto another one.

    Raises:
      UsageError: unless it fits 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"{name} is between 0 and {2**32 - 1}, not {seed}.")


def unplayed(suite: Suite, split: Split, who: Contestant, seed: int, command: str = "") -> Result:
    """A result that says who would play what, without scores."""
    prior = who.prior and who.prior.provenance | {"overlap": who.prior.overlap(split)}
    return Result(
        suite=suite.name,
        split=split.role,
        fingerprint=split.fingerprint,
        agent=who.name,
        config=results.plain(dataclasses.asdict(who.config)),
        seed=seed,
        budget=0,
        spent=0,
        scores=[],
        prior=prior,
        versions=results.versions(),
        commit=results.commit(),
        command=command,
    )


def score(suite: Suite, split: Split, who: str | Prior, seed: int = 0, command: str = "") -> Result:
    """Play one trial of each of a finite split's tasks and summarise it.

    Raises:
      UsageError: for an unknown name, or an agent that cannot play this suite.
      RunError: if the environment gives rewards that are not finite.
    """
    player = contestant(suite, who, seed)
    played = play(player.agent, player.env, split.tasks, player.state, jr.key(seed))
    if played.deaths:
        _LOG.warning(
            "simulators of %s died while %s was scored (%d in all); their episodes count as far as they went.",
            *(suite.name, player.name, played.deaths),
        )
    totals = played.returns.sum(axis=1)
    if not np.all(np.isfinite(totals)):
        raise RunError(
            f"suite {suite.name} gave {player.name} rewards that are not finite; there is no score."
        )
    return dataclasses.replace(
        unplayed(suite, split, player, seed, command),
        spent=int(played.lengths.sum()),
        scores=[round(float(x), 4) for x in totals],
        within=[float(x) for x in played.returns.mean(axis=0)],
        lengths=[float(x) for x in played.lengths.mean(axis=0)],
        facts=facts(suite, played),
    )


def evaluate(
    suite: str | Suite,
    agents: Sequence[str | Prior | Path],
    *,
    tasks: int | None = None,
    split: Role = "test",
    task_seed: int = 0,
    seed: int = 0,
    command: str = "",
) -> list[Result]:
    """Play every agent on the same tasks with the same random numbers.

    Args:
      suite: a suite or its name.
      agents: rules by name, priors by name, file, run folder, or as they are.
      tasks: how many tasks of the split; None for a thousand, or all there are. Sets of one seed are nested.
      split: which role of tasks.
      task_seed: another seed draws a fresh set that nobody tuned to; it shares no task with the train split.
      seed: of the environment's and the agents' randomness.

    Returns:
      One `Result` an agent.

    Raises:
      UsageError: for an unknown name, or an agent that cannot play this suite.
      RunError: if the environment gives rewards that are not finite.
    """
    check_seed("seed", seed)
    check_seed("task_seed", task_seed)
    suite = suites.suite(suite) if isinstance(suite, str) else suite
    if tasks is None and split == "train":  # which may have no end
        tasks = suite.most("train") or 1000
    table = suite.split(split, tasks, task_seed)
    whos = [str(who) if isinstance(who, Path) else who for who in agents]
    return [score(suite, table, who, seed, command) for who in whos]
