"""Mazes as RL² plays them: a trial is `episodes` episodes in one maze; the score is its total reward."""

from typing import Literal, cast, get_args

from headstart.envs.maze import Maze
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.suites._maze_pictures import render
from headstart.tasks import Suite

_View = Literal["rays", "rgb"]


def _maze(size: int, episodes: int, obs: str, horizon: int) -> Suite:
    if obs not in get_args(_View):
        raise UsageError(f"a maze is seen as rays or rgb, not '{obs}'.")
    if horizon < 1:
        raise UsageError(f"an episode in a maze has at least one step, not {horizon}.")
    env = Maze(size, horizon, cast(_View, obs))
    about = (
        f"find the target in a {size} x {size} maze; score: total reward of a trial of {episodes} episodes"
    )
    return Suite("maze", Trial(env, episodes), env.sample, render=render, about=about)


def small(episodes: int = 2, obs: str = "rgb", horizon: int = 250) -> Suite:
    """Mazes of 5 x 5 cells (Duan et al. 2016, section 3.3); `obs` is "rgb" or "rays", `horizon` in steps an
    episode.
    """
    return _maze(5, episodes, obs, horizon)


def large(episodes: int = 2, obs: str = "rgb", horizon: int = 1000) -> Suite:
    """Mazes of 9 x 9 cells (Duan et al. 2016, section 3.3); `obs` is "rgb" or "rays", `horizon` in steps an
    episode.
    """
    return _maze(9, episodes, obs, horizon)
