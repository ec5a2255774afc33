"""Cart-pole with varied physics: an episode is one balancing attempt; the score is the steps survived."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from headstart.envs.cartpole import THETA_LIMIT, X_LIMIT, CartPole, CartPoleState, CartPoleTask, standard
from headstart.envs.trial import Trial, TrialState
from headstart.errors import UsageError
from headstart.tasks import Suite

_ABOUT = "cart-pole, physics log-uniform around the standard; score: steps survived, of 500"
_WIDTH, _HEIGHT, _FINE = 600, 320, 3
_PAPER, _INK, _TEXT, _FAINT = "#fbfaf7", "#2b3a55", "#5b6474", "#b9b4a8"
_POLE, _AXLE, _RED, _RED_FAINT = "#d98c3f", "#fbe3c6", "#c8473b", "#eec1ba"


def cartpole(episodes: int = 0, mirrored: bool = False) -> Suite:
    """Cart-pole.

    Args:
      episodes: 0 plays single episodes; 1 and more make a trial of that many (RL²).
      mirrored: swap left and right in half of the tasks, which an agent can only find out by pushing.

    Raises:
      UsageError: if `episodes` is negative.
    """
    if episodes < 0:
        raise UsageError(f"cart-pole has no {episodes} episodes; 0 is one plain episode, 1 and more a trial.")
    env = CartPole(mirrored=mirrored)
    return Suite(
        "cartpole",
        Trial(env, episodes) if episodes else env,
        env.sample,
        standard=standard(),
        render=render,
        about=_ABOUT,
    )


def render(task: CartPoleTask, states: CartPoleState | TrialState) -> UInt8[np.ndarray, "T H W 3"]:
    """Pictures of the states `[T]` of one task, for people.

    Lengths are to scale and thickness grows with mass; the dashes show the angles at which the pole has
    fallen, the posts the ends of the track; the caption tells the physics.
    """
    body = states.inner if isinstance(states, TrialState) else states
    mirror = " mirrored" if task.force < 0 else ""
    caption = (
        f"cart {task.mass_cart:.2f} kg   pole {task.mass_pole:.2f} kg, {2 * task.length:.2f} m   "
        f"push {abs(task.force):.1f} N{mirror}   gravity {task.gravity:.1f} m/s/s"
    )
    places = zip(np.asarray(body.x), np.asarray(body.theta), np.asarray(body.t), strict=True)
    return np.stack(
        [_picture(task, float(x), float(theta), f"step {t:3d}", caption) for x, theta, t in places]
    )


def _picture(
    task: CartPoleTask, x: float, theta: float, clock: str, caption: str
) -> UInt8[np.ndarray, "H W 3"]:
    """One picture, drawn `_FINE` times too large and shrunk, so that edges are smooth."""
    image = Image.new("RGB", (_FINE * _WIDTH, _FINE * _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    metre, ground = _FINE * _WIDTH / 5.6, _FINE * (_HEIGHT - 48)
    centre = _FINE * _WIDTH / 2
    bulk = float(np.sqrt(task.mass_cart))
    half, tall = 0.22 * metre * bulk**0.5, 0.17 * metre * bulk
    cart_x, axle = centre + x * metre, ground - tall
    reach = 2 * float(task.length) * metre

    def tip(angle: float, length: float) -> tuple[float, float]:
        return cart_x + length * float(np.sin(angle)), axle - length * float(np.cos(angle))

    draw.line([(0, ground), (_FINE * _WIDTH, ground)], fill=_FAINT, width=2 * _FINE)
    for side in (-1, 1):
        post = centre + side * X_LIMIT * metre
        draw.line([(post, ground - 0.2 * metre), (post, ground + 0.06 * metre)], fill=_RED, width=3 * _FINE)
        for dash in np.arange(0.0, 1.0, 0.1):
            ends = [tip(side * THETA_LIMIT, reach * share) for share in (dash, dash + 0.05)]
            draw.line(ends, fill=_RED_FAINT, width=2 * _FINE)
    draw.rounded_rectangle([cart_x - half, axle, cart_x + half, ground - _FINE], 0.04 * metre, fill=_INK)
    thick = metre * 0.09 * float(np.sqrt(task.mass_pole / 0.1)) ** 0.6
    draw.line([tip(theta, 0.0), tip(theta, reach)], fill=_POLE, width=round(thick))
    for end, colour, radius in (
        (tip(theta, reach), _POLE, thick / 2),
        (tip(theta, 0.0), _AXLE, thick * 0.42),
    ):
        if colour == _AXLE:
            draw.circle(end, thick / 2, fill=_POLE)
        draw.circle(end, radius, fill=colour)
    font = ImageFont.load_default(13 * _FINE)
    draw.text((12 * _FINE, (_HEIGHT - 14) * _FINE), caption, _TEXT, font, anchor="ls")
    draw.text(((_WIDTH - 12) * _FINE, 12 * _FINE), clock, _TEXT, font, anchor="rt")
    return np.asarray(image.reduce(_FINE))
