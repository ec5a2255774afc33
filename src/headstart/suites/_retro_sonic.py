"""The levels of Gotta Learn Fast (Nichol et al. 2018, arXiv:1804.03720, appendix): game and save state."""

_LEVELS = tuple[tuple[str, str], ...]


def _of(game: str, *states: str) -> _LEVELS:
    return tuple((game, state) for state in states)


TRAIN = (
    *_of(
        "SonicTheHedgehog-Genesis",
        "SpringYardZone.Act3",
        "SpringYardZone.Act2",
        "GreenHillZone.Act3",
        "GreenHillZone.Act1",
        "StarLightZone.Act2",
        "StarLightZone.Act1",
        "MarbleZone.Act2",
        "MarbleZone.Act1",
        "MarbleZone.Act3",
        "ScrapBrainZone.Act2",
        "LabyrinthZone.Act2",
        "LabyrinthZone.Act1",
        "LabyrinthZone.Act3",
    ),
    *_of(
        "SonicTheHedgehog2-Genesis",
        "EmeraldHillZone.Act1",
        "EmeraldHillZone.Act2",
        "ChemicalPlantZone.Act2",
        "ChemicalPlantZone.Act1",
        "MetropolisZone.Act1",
        "MetropolisZone.Act2",
        "OilOceanZone.Act1",
        "OilOceanZone.Act2",
        "MysticCaveZone.Act2",
        "MysticCaveZone.Act1",
        "HillTopZone.Act1",
        "CasinoNightZone.Act1",
        "WingFortressZone",
        "AquaticRuinZone.Act2",
        "AquaticRuinZone.Act1",
    ),
    *_of(
        "SonicAndKnuckles3-Genesis",
        "LavaReefZone.Act2",
        "CarnivalNightZone.Act2",
        "CarnivalNightZone.Act1",
        "MarbleGardenZone.Act1",
        "MarbleGardenZone.Act2",
        "MushroomHillZone.Act2",
        "MushroomHillZone.Act1",
        "DeathEggZone.Act1",
        "DeathEggZone.Act2",
        "FlyingBatteryZone.Act1",
        "SandopolisZone.Act1",
        "SandopolisZone.Act2",
        "HiddenPalaceZone",
        "HydrocityZone.Act2",
        "IcecapZone.Act1",
        "IcecapZone.Act2",
        "AngelIslandZone.Act1",
        "LaunchBaseZone.Act2",
        "LaunchBaseZone.Act1",
    ),
)
"""47 levels"""

TEST = (
    *_of(
        "SonicTheHedgehog-Genesis",
        "SpringYardZone.Act1",
        "GreenHillZone.Act2",
        "StarLightZone.Act3",
        "ScrapBrainZone.Act1",
    ),
    *_of(
        "SonicTheHedgehog2-Genesis",
        "MetropolisZone.Act3",
        "HillTopZone.Act2",
        "CasinoNightZone.Act2",
    ),
    *_of(
        "SonicAndKnuckles3-Genesis",
        "LavaReefZone.Act1",
        "FlyingBatteryZone.Act2",
        "HydrocityZone.Act1",
        "AngelIslandZone.Act2",
    ),
)
"""11 levels, of zones whose other acts are trained on"""
