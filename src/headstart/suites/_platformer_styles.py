"""What a zone's levels are made of: which passages and barriers, on which terrain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """A zone's taste in levels."""

    passages: str
    """names of passages, the dearer ones twice, separated by commas"""
    barriers: str
    """names of barriers, likewise"""
    stairs: bool = False
    """terrain of blocks and steps instead of slopes"""
    gentle: float = 0.3
    """share of slopes that are gentle"""
    ceiling: bool = False
    """the level lies under a roof of rock"""
    floating: bool = False
    """the ground hangs in the sky: thin, with nothing below"""

    def passage_names(self) -> list[str]:
        return [name.strip() for name in self.passages.split(",")]

    def barrier_names(self) -> list[str]:
        return [name.strip() for name in self.barriers.split(",")]


STYLES: dict[str, Style] = {
    # Wildwood
    "fern-hill": Style(
        "hills, hills, hills, dip, gap, canopy, bridge, boost, gauntlet",
        "well, half-pipe, switchback, zigzag",
    ),
    "mossy-ruins": Style(
        "terraces, fork, fork, thorn pit, bridge, gauntlet, gap, tunnel",
        "high switch, low switch, zigzag, chimney, breaker",
        stairs=True,
    ),
    "amber-grove": Style(
        "canopy, canopy, hills, dip, islands, gap, thorns",
        "well, well, lift, zigzag, high switch",
        gentle=0.6,
    ),
    "misty-marsh": Style(
        "hills, dip, dip, stones, stones, bridge, ferry, thorns",
        "switchback, lift, well, basement",
        gentle=0.9,
    ),
    "echo-cave": Style(
        "tunnel, fork, terraces, hills, thorn pit, dip",
        "chimney, basement, half-pipe, zigzag, breaker",
        gentle=0.1,
        ceiling=True,
    ),
    "sunken-temple": Style(
        "terraces, fork, stones, thorn pit, ferry, gauntlet, tunnel",
        "low switch, island switch, lift, chimney, well",
        stairs=True,
        ceiling=True,
    ),
    "windy-ridge": Style(
        "hills, gap, gap, stones, ferry, canopy, boost", "half-pipe, well, zigzag, lift", gentle=0.1
    ),
    # Ironside
    "copper-works": Style(
        "terraces, ferry, ferry, tunnel, gauntlet, thorn pit, fork",
        "lift, lift, high switch, breaker, chimney",
        stairs=True,
    ),
    "steam-yard": Style(
        "boost, boost, hills, gap, thorns, canopy, bridge", "well, half-pipe, breaker, well, lift", gentle=0.4
    ),
    "oil-flats": Style(
        "hills, hills, stones, thorns, gauntlet, gap, bridge",
        "switchback, half-pipe, basement, breaker",
        gentle=0.8,
    ),
    "neon-alley": Style(
        "canopy, boost, fork, gap, gauntlet, tunnel, islands",
        "switchback, high switch, breaker, well",
        gentle=0.2,
    ),
    "magnet-tower": Style(
        "terraces, canopy, thorn pit, ferry, stones, tunnel",
        "chimney, chimney, zigzag, lift, low switch",
        stairs=True,
    ),
    "clockwork-hall": Style(
        "ferry, ferry, terraces, bridge, fork, gauntlet, stones",
        "lift, island switch, high switch, low switch, zigzag",
        stairs=True,
        ceiling=True,
    ),
    "ember-furnace": Style(
        "thorn pit, thorn pit, thorns, dip, tunnel, bridge, hills",
        "half-pipe, basement, breaker, chimney",
        gentle=0.1,
        ceiling=True,
    ),
    # Skyreach
    "frost-peak": Style(
        "hills, hills, dip, gap, stones, boost, canopy",
        "half-pipe, half-pipe, switchback, well, zigzag",
        gentle=0.3,
    ),
    "cloud-garden": Style(
        "islands, islands, stones, canopy, hills, bridge, ferry",
        "well, lift, zigzag, island switch",
        gentle=0.7,
        floating=True,
    ),
    "storm-spire": Style(
        "stones, stones, gap, thorns, ferry, terraces, islands",
        "zigzag, lift, chimney, high switch",
        stairs=True,
        floating=True,
    ),
    "moon-base": Style(
        "terraces, gap, thorn pit, fork, canopy, gauntlet, tunnel",
        "low switch, high switch, breaker, basement, chimney",
        stairs=True,
    ),
    "comet-road": Style(
        "boost, boost, hills, gap, gap, gauntlet, bridge",
        "half-pipe, breaker, switchback, well",
        gentle=0.5,
        floating=True,
    ),
    "aurora-bay": Style(
        "hills, dip, islands, bridge, stones, canopy, ferry", "well, half-pipe, lift, switchback", gentle=0.6
    ),
    "star-forge": Style(
        "fork, terraces, ferry, thorn pit, thorns, islands, tunnel",
        "high switch, breaker, zigzag, chimney, low switch",
        stairs=True,
        floating=True,
    ),
    # the contest's
    "candy-canyon": Style(
        "canopy, hills, boost, islands, dip, gap, bridge",
        "well, well, zigzag, switchback, high switch",
        gentle=0.6,
    ),
    "ghost-harbour": Style(
        "ferry, bridge, bridge, stones, islands, fork, terraces",
        "lift, island switch, basement, chimney",
        stairs=True,
    ),
    "lava-shelf": Style(
        "thorn pit, thorns, hills, stones, tunnel, fork, gauntlet",
        "half-pipe, breaker, basement, zigzag",
        gentle=0.2,
        ceiling=True,
    ),
    "glass-desert": Style(
        "hills, boost, gap, stones, canopy, dip, thorns", "half-pipe, well, breaker, switchback", gentle=0.8
    ),
}
