"""The platformer's zones: where levels lie, how many acts a zone has, and what its ground and air feel like.

Everything that moves is measured in 1/256 pixel (`SUB`) and frames, in whole numbers, so that a tape of actions gives the
same run on every machine. The numbers of a plain zone are those of the 16-bit games; a zone multiplies some of them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int

SUB = 256
"""subpixels a pixel"""

Numbers = Int[Array | np.ndarray, "*m"]
"""int32 numbers, one a task"""


class Physics(NamedTuple):
    """A zone's physics in subpixels: speeds a frame, accelerations a frame and frame; int32 scalars."""

    accelerate: Numbers
    """running, with a direction held"""
    friction: Numbers
    """running, with none held; rolling always has half of it"""
    brake: Numbers
    """running, with the other direction held; rolling has a quarter of it"""
    top: Numbers
    """speed that running alone can reach"""
    air: Numbers
    """in the air, with a direction held"""
    gravity: Numbers
    jump: Numbers
    """upward speed a jump begins with"""
    cut: Numbers
    """upward speed left to a jump whose button is released"""
    slope: Numbers
    """pull along a slope of 90 degrees when running; rolling has 5/2 of it downhill, 5/8 uphill"""
    spring: Numbers
    """upward speed a spring gives"""
    throw: Numbers
    """sideways speed a spring gives"""
    wind: Numbers
    """push to the right in the air, against which nothing can be held"""


PLAIN = {
    "accelerate": 12,
    "friction": 12,
    "brake": 128,
    "top": 6 * SUB,
    "air": 24,
    "gravity": 56,
    "jump": 1664,
    "cut": 4 * SUB,
    "slope": 32,
    "spring": 10 * SUB,
    "throw": 12 * SUB,
}
"""the physics of a plain zone, where no wind blows"""


@dataclass(frozen=True)
class Zone:
    """A zone: its name in level files, the world it belongs to, its acts, and what differs from the plain physics."""

    name: str
    title: str
    world: str
    acts: int
    """how many levels it has"""
    test: int = 0
    """the act that is a test level; 0 if all are for training"""
    times: dict[str, float] = field(default_factory=dict)
    """factors on fields of `PLAIN`"""
    wind: int = 0
    """push to the right in the air, in subpixels a frame and frame"""

    @property
    def physics(self) -> Physics:
        """The zone's physics, int32."""
        scaled = {
            name: np.array(round(value * self.times.get(name, 1.0)), np.int32)
            for name, value in PLAIN.items()
        }
        return Physics(**scaled, wind=np.array(self.wind, np.int32))


_HEAVY = {"gravity": 1.12, "jump": 1.04, "slope": 1.25}
_ICE = {"friction": 0.2, "brake": 0.3, "accelerate": 0.7}
_LIGHT = {"gravity": 0.75, "jump": 0.9, "cut": 0.9, "air": 0.9}
_MOON = {"gravity": 0.55, "jump": 0.78, "cut": 0.78, "spring": 0.78, "air": 0.8}
_WATER = {
    "gravity": 0.5,
    "jump": 0.75,
    "cut": 0.75,
    "spring": 0.75,
    "top": 0.75,
    "accelerate": 0.8,
    "air": 0.8,
    "brake": 0.7,
}
_MUD = {"accelerate": 0.75, "friction": 2.0, "top": 0.9}
_OIL = {"friction": 0.35, "brake": 0.45, "slope": 1.2}
_STEEP = {"slope": 1.35, "top": 1.05}
_SWIFT = {"accelerate": 1.5, "top": 1.12, "air": 1.25}
_BOUNCE = {"spring": 1.1, "throw": 1.1, "air": 1.2}

ZONES: dict[str, Zone] = {
    zone.name: zone
    for zone in (
        Zone("fern-hill", "Fern Hill", "Wildwood", 3, test=2),
        Zone("mossy-ruins", "Mossy Ruins", "Wildwood", 3),
        Zone("amber-grove", "Amber Grove", "Wildwood", 3, test=3, times=_BOUNCE),
        Zone("misty-marsh", "Misty Marsh", "Wildwood", 3, times=_MUD),
        Zone("echo-cave", "Echo Cave", "Wildwood", 2, times=_STEEP),
        Zone("sunken-temple", "Sunken Temple", "Wildwood", 3, test=1, times=_WATER),
        Zone("windy-ridge", "Windy Ridge", "Wildwood", 3, test=1, wind=3),
        Zone("copper-works", "Copper Works", "Ironside", 3, test=3),
        Zone("steam-yard", "Steam Yard", "Ironside", 3, times={"spring": 1.1, "throw": 1.15}),
        Zone("oil-flats", "Oil Flats", "Ironside", 2, test=2, times=_OIL),
        Zone("neon-alley", "Neon Alley", "Ironside", 3, test=2, times=_SWIFT),
        Zone("magnet-tower", "Magnet Tower", "Ironside", 3, times=_HEAVY),
        Zone("clockwork-hall", "Clockwork Hall", "Ironside", 3, test=1),
        Zone("ember-furnace", "Ember Furnace", "Ironside", 2, times=_STEEP),
        Zone("frost-peak", "Frost Peak", "Skyreach", 3, test=2, times=_ICE),
        Zone("cloud-garden", "Cloud Garden", "Skyreach", 3, times=_LIGHT),
        Zone("storm-spire", "Storm Spire", "Skyreach", 2, test=1, wind=-3),
        Zone("moon-base", "Moon Base", "Skyreach", 3, test=3, times=_MOON),
        Zone("comet-road", "Comet Road", "Skyreach", 3, times=_SWIFT),
        Zone("aurora-bay", "Aurora Bay", "Skyreach", 3, times={**_LIGHT, **_ICE}),
        Zone("star-forge", "Star Forge", "Skyreach", 2, times=_HEAVY),
        Zone("candy-canyon", "Candy Canyon", "Contest", 3, times={**_BOUNCE, "friction": 1.5}),
        Zone("ghost-harbour", "Ghost Harbour", "Contest", 3, times={**_LIGHT, "accelerate": 0.8}, wind=2),
        Zone("lava-shelf", "Lava Shelf", "Contest", 3, times={**_HEAVY, **_OIL}),
        Zone("glass-desert", "Glass Desert", "Contest", 2, times={**_SWIFT, "friction": 0.3, "brake": 0.5}),
    )
}
"""every zone by name, in the order they are played; "Contest" is no world of the 58 levels"""
