"""Lanes pinned to levels: joint training in which every lane keeps its task, as one environment a level does (Nichol et al.
2018, arXiv:1804.03720), so that each task gets the same share of the steps, however long its episodes are.

    lane i plays task i mod M, episode after episode                         (else each episode draws one of the M)
"""

from headstart.errors import UsageError
from headstart.types import Agent


def pinned(agent: Agent, lanes: int, size: int | None) -> Agent:
    """The agent, each lane of whose training keeps its task.

    Args:
      size: how many training tasks there are; None if they have no end.

    Raises:
      UsageError: if not every task gets a lane, or the agent's curriculum is to choose the tasks.
    """
    if agent.curriculum:
        raise UsageError(
            "pinned lanes keep their tasks, and level replay chooses others; give one of the two."
        )
    if size is None or size > lanes:
        raise UsageError(
            f"lanes are pinned where every task gets one, and there are {lanes} lanes for "
            f"{'tasks without end' if size is None else f'{size} tasks'}; give more lanes, or fewer tasks."
        )
    return agent._replace(pinned=True)


__all__ = ["pinned"]
