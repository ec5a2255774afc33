"""Emulated games: the Sonic benchmark as far as it goes without ROMs, and the one game that ships with the emulator."""

import gzip
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np
import pytest
from PIL import Image

from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.commands.doctor import _findings
from headstart.commands.retro import retro as make_retro
from headstart.commands.roms import roms as list_roms
from headstart.errors import RunError, UsageError
from headstart.hosts import retro, roms, save_states
from headstart.hosts.save_states import Making, make_states, script
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import priors
from headstart.protocol.priors import Prior
from headstart.suites import suite
from headstart.suites._retro_sonic import TEST, TRAIN
from headstart.types import Box, Discrete

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("stable_retro") is None, reason="needs the extra retro"
)
AIR = "Airstriker-Genesis-v0"


def test_the_split_is_the_papers_and_every_state_is_in_the_emulators_data() -> None:
    assert (len(TRAIN), len(TEST), len({*TRAIN, *TEST})) == (47, 11, 58)
    data = retro.library().data
    for game, state in (*TRAIN, *TEST):
        assert data.get_file_path(f"{game}-v0", f"{state}.state"), (game, state)
    acts = {(game, state.split(".")[0]) for game, state in TRAIN}
    assert {(game, state.split(".")[0]) for game, state in TEST} <= acts, (
        "tests are other acts of trained zones"
    )


def test_the_suite_needs_no_rom_to_be_looked_at() -> None:
    loaded = suite("retro-sonic")
    assert (loaded.split("train").size, loaded.split("test").size) == (47, 11)
    assert loaded.env.spec.obs == Box((84, 84, 4), 0.0, 255.0, "uint8")
    assert loaded.env.spec.action == Discrete(8)
    assert loaded.env.spec.horizon == 4500
    assert suite("retro-sonic:obs=rgb,frames=1").env.spec.obs == Box((224, 320, 3), 0.0, 255.0, "uint8")
    held = suite("retro-sonic:valid=4")
    assert (held.split("train").size, held.split("valid").size) == (43, 4)
    assert retro.COMBINATIONS["sonic"][7] == retro.COMBINATIONS["arrows"][7] == ("B",)


@pytest.mark.skipif("SonicTheHedgehog-Genesis-v0" in roms.imported(), reason="the ROM is there")
def test_a_missing_rom_is_told_with_what_to_do() -> None:
    loaded = suite("retro-sonic")
    with pytest.raises(UsageError, match=r"no ROM of Sonic.*headstart roms import FOLDER") as error:
        loaded.env.open(loaded.split("test").tasks, 1, 0, True)  # pyright: ignore[reportAttributeAccessIssue]
    assert "\n" not in str(error.value)


def contest_reward(path: list[int], end: int) -> list[float]:
    """A plain twin of the scenario: 9000 times the progress gained, and 1000 (1 - t / 18000) beyond the end."""
    start, before, paid = path[0], 0.0, list[float]()
    for t, x in enumerate(path, start=1):
        progress = min(max(x - start, 0), end - start) / (end - start)
        paid.append(9000 * (progress - before) + (1000 * (1 - t / 18000) if progress >= 1 else 0.0))
        before = progress
    return paid


@pytest.mark.parametrize(
    ("game", "where", "end"),
    [
        ("SonicTheHedgehog-Genesis-v0", {"zone": 0, "act": 0}, 0x2560),
        ("SonicTheHedgehog-Genesis-v0", {"zone": 4, "act": 2}, 0x2B83),
        ("SonicTheHedgehog2-Genesis-v0", {"zone": 0, "act": 0}, 0x2A40),
        ("SonicAndKnuckles3-Genesis-v0", {"zone": 0, "act": 1}, 0x4870),
    ],
)
def test_the_contests_own_script_pays_the_papers_reward_on_recorded_ram(
    game: str, where: dict[str, int], end: int
) -> None:
    """The emulator runs Sonic's scenario on values written into a console's RAM: a run that goes back, and finishes."""
    library = retro.library()
    emulator = library.RetroEmulator(library.data.get_romfile_path(AIR))
    data = library.data.GameData()
    emulator.configure_data(data)
    emulator.step()
    folder = Path(library.data.path()) / "stable" / game
    assert data.load(str(folder / "data.json"), str(folder / "contest.json"))
    goal = re.search(
        rf'"zone={where["zone"]},act={where["act"]}"\] = (0x\w+)', (folder / "script.lua").read_text()
    )
    assert goal is not None
    assert int(goal[1], 16) == end

    def play(path: list[int], lives: list[int]) -> tuple[list[float], list[bool]]:
        paid, over = [], []
        for x, left in zip(path, lives, strict=True):
            for name, value in (where | {"x": x, "lives": left}).items():
                data.set_value(name, value)
            data.update_ram()
            for name, value in (where | {"x": x, "lives": left}).items():
                data.set_value(name, value)
            paid.append(data.current_reward())
            over.append(bool(data.is_done()))
        return paid, over

    path = [80, 85, 200, 150, 40, 900, 5000, end - 1, end]
    for name, value in (where | {"x": 80, "lives": 3}).items():
        data.set_value(name, value)
    data.reset()
    paid, over = play(path, [3] * len(path))
    np.testing.assert_allclose(paid, contest_reward(path, end), rtol=1e-4, atol=1e-2)
    assert 9999 < sum(paid) < 10_000, "the most there is, for a run that ends at once"
    assert over == [False] * 8 + [True]
    data.reset()
    assert play([80, 90, 95], [3, 3, 2])[1] == [False, False, True], "a lost life is the end"
    del emulator


@pytest.fixture
def air() -> Iterator[retro.RetroGame]:
    env = retro.RetroGame(AIR, sticky=0.25)
    yield env
    env.close()


def frames(env: retro.RetroGame, actions: list[int], seed: int) -> tuple[list[Any], list[float]]:
    seen, paid = [env.reset(seed=seed)[0]], []
    for action in actions:
        obs, reward, *_ = env.step(action)
        seen.append(obs)
        paid.append(reward)
    return seen, paid


def test_real_frames_repeat_with_the_seed_and_sticky_actions_differ_without(air: retro.RetroGame) -> None:
    actions = [1, 2, 7, 1, 2, 7, 5, 6] * 3
    one, again, other = (frames(air, actions, seed)[0] for seed in (0, 0, 1))
    assert one[0].shape == (84, 84, 4)
    assert one[0].dtype == np.uint8
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    stacked = one[5]
    np.testing.assert_array_equal(stacked[..., :3], one[4][..., 1:])  # frames move up, the newest is last
    assert one[-1][..., 3].std() > 5, "a picture, not a blank"


def test_backtracking_pays_only_for_new_records() -> None:
    env = retro.RetroGame(AIR, backtracking=True)
    env._total = env._best = 0.0
    assert [env._pay(r) for r in (3.0, -5.0, 4.0, 2.0)] == [3.0, 0.0, 0.0, 1.0]


def test_a_small_picture_is_the_mean_of_what_it_covers() -> None:
    screen = np.zeros((168, 168, 3), np.uint8)
    screen[::2] = 200  # every second row
    np.testing.assert_array_equal(retro.shrink(screen), np.full((84, 84), 100, np.uint8))


def test_save_states_are_made_again_and_begun_at(tmp_path: Path, air: retro.RetroGame) -> None:
    air.close()
    made = [
        make_states(Making(AIR, tmp_path / name, states=8, every=6, seed=3), script(3)) for name in ("a", "b")
    ]
    assert made[0] == made[1]
    roles = [row["role"] for row in made[0]]
    assert (roles.count("train"), roles.count("valid"), roles.count("test")) == (5, 1, 2)
    loaded = suite(f"retro:{AIR},states={tmp_path / 'a'}")
    twin = suite(f"retro:{AIR},states={tmp_path / 'b'}")
    assert loaded.split("test").labels == ("state002", "state006")
    assert loaded.split("test").digests == twin.split("test").digests, (
        "a task is its content, wherever it lies"
    )
    begun = retro.RetroGame(AIR, folder=str(tmp_path / "a"))
    first, _ = begun.reset(options={"game": AIR, "state": "state000", "sha": made[0][0]["sha"]})
    later, _ = begun.reset(options={"game": AIR, "state": "state006", "sha": made[0][6]["sha"]})
    assert not np.array_equal(first, later)
    with pytest.raises(UsageError, match="is not the one its task was made with"):
        begun.reset(options={"game": AIR, "state": "state001", "sha": "0" * 16})
    with pytest.raises(UsageError, match=r"there is no save state .*state999"):
        begun.reset(options={"game": AIR, "state": "state999"})
    for content, message in (
        (b"rubbish", "no save state, or a damaged one"),
        (None, "another console's or version's"),
    ):
        with (tmp_path / "a" / "state001.state").open("wb") as file:
            file.write(gzip.compress(b"rubbish") if content is None else content)
        with pytest.raises(UsageError, match=message):
            begun.reset(options={"game": AIR, "state": "state001"})
    begun.close()
    with pytest.raises(UsageError, match=r"save states in .* already"):
        make_states(Making(AIR, tmp_path / "a"), script(0))


def test_another_process_makes_the_same_states(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "headstart.cli",
        "retro",
        "make-states",
        AIR,
        "--states",
        "3",
        "--every",
        "5",
    ]
    for name in ("a", "b"):
        subprocess.run([*words, "--out", str(tmp_path / name)], check=True, capture_output=True)
    a, b = (tmp_path / name / "states.json" for name in ("a", "b"))
    assert a.read_text() == b.read_text()
    one, two = (suite(f"retro:{AIR},states={tmp_path / name}").split("train") for name in ("a", "b"))
    assert one.digests == two.digests


def test_a_lane_is_a_process_with_an_emulator_of_its_own(tmp_path: Path) -> None:
    loaded = suite(f"retro:{AIR},horizon=5")
    lanes = loaded.env.open(loaded.split("train").tasks, 2, 0, False)  # pyright: ignore[reportAttributeAccessIssue]
    assert len(lanes._jobs) == 2
    now = lanes.reset(0)
    assert now.obs.shape == (2, 84, 84, 4)
    ends = [lanes.step(np.array([1, 2], np.int32)) for _ in range(5)][-1]
    assert ends.first.all()
    assert ends.discount.all(), "cut off, not over"
    np.testing.assert_array_equal(ends.obs, now.obs)  # the next episode begins at the same save state
    assert not np.array_equal(ends.final_obs, ends.obs)
    lanes.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retro:Airstrike-Genesis", "no game called 'Airstrike-Genesis'; did you mean Airstriker-Genesis-v0"),
        (f"retro:{AIR},obs=tiles", "pixels or rgb, not as 'tiles'"),
        (f"retro:{AIR},actions=all", "the actions sonic and arrows, not 'all'"),
        (f"retro:{AIR},sticky=2", "probability between 0 and 1"),
        (f"retro:{AIR},states=nowhere", r"no save states in nowhere; make some: headstart retro make-states"),
        ("retro-sonic:valid=47", "0 to 46 training levels"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        suite(name)


def test_a_wrong_scenario_or_state_is_named_with_those_there_are() -> None:
    env = retro.RetroGame(AIR, scenario="contest")
    with pytest.raises(UsageError, match="no scenario 'contest'; it has scenario"):
        env.reset()
    with pytest.raises(UsageError, match=r"no save state of Airstriker.*'Level9'; did you mean Level1"):
        retro.read_state(AIR, "Level9")


def test_roms_are_known_by_their_content_whatever_they_are_called(tmp_path: Path) -> None:
    rom = next(Path(retro.library().data.path()).glob(f"*/{AIR}/rom.md"))
    shutil.copy(rom, tmp_path / "anything.bin")
    (tmp_path / "Sonic The Hedgehog (World).md").write_bytes(b"not a game")
    with zipfile.ZipFile(tmp_path / "games.zip", "w") as archive:
        archive.write(rom, "inner.md")
    found = {one.file: one for one in roms.take(tmp_path)}
    assert (found["anything.bin"].game, found["anything.bin"].what) == (AIR, "there already")
    assert found["games.zip/inner.md"].what == "there already"
    stranger = found["Sonic The Hedgehog (World).md"]
    assert stranger.what == "unknown"
    assert stranger.sha == hashlib.sha1(b"not a game").hexdigest()
    assert stranger.game == "SonicTheHedgehog-Genesis-v0"
    assert stranger.expected == ("69e102855d4389c3fd1a8f3dc7d193f8eee5fe5b",)
    assert "no game has a ROM of SHA-1" in str(stranger)
    assert "it would be 69e102" in str(stranger)


def test_an_smd_dump_and_a_headed_nes_rom_are_imported_by_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bytes(range(256)) * 64
    scrambled = bytes(512) + plain[1::2] + plain[::2]
    body = b"nes" * 100
    place, other = tmp_path / "out.md", tmp_path / "out.nes"
    monkeypatch.setattr(
        roms,
        "known",
        lambda: {
            hashlib.sha1(plain).hexdigest(): roms.Known("Game-Genesis-v0", place),
            hashlib.sha1(body).hexdigest(): roms.Known("Game-Nes-v0", other),
        },
    )
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.smd").write_bytes(scrambled)
    (folder / "b.nes").write_bytes(b"NES\x1a" + bytes(12) + body)
    assert [(one.game, one.what) for one in roms.take(folder)] == [
        ("Game-Genesis-v0", "imported"),
        ("Game-Nes-v0", "imported"),
    ]
    assert place.read_bytes() == plain
    assert other.read_bytes() == (folder / "b.nes").read_bytes()
    with pytest.raises(UsageError, match="there is no folder"):
        roms.take(tmp_path / "none")


def test_another_rom_in_a_games_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    retro.require({AIR, "Airstriker-Genesis"})
    monkeypatch.setattr(retro.library().data, "verify_hash", lambda game: [(game, "sha mismatch")])
    with pytest.raises(UsageError, match=r"lies where Airstriker-Genesis-v0's should is another one"):
        retro.require({AIR})


def test_the_commands_make_states_and_tell_which_games_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_roms(["list", "--json"])
    rows = {row["game"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(roms.SONIC) <= set(rows)
    assert rows[AIR]["there"]
    assert rows["SonicTheHedgehog-Genesis-v0"]["sha1"] == ["69e102855d4389c3fd1a8f3dc7d193f8eee5fe5b"]
    assert AIR in _findings()["games"]
    make_retro(["make-states", AIR, "--out", str(tmp_path / "s"), "--states", "3", "--every", "3"])
    assert "3 save states (2 train, 0 valid, 1 test)" in capsys.readouterr().out
    with Image.open(tmp_path / "s" / "states.png") as sheet:
        assert sheet.width > 3 * 160
    with pytest.raises(UsageError, match="name the folder with your ROMs"):
        list_roms(["import"])


class Short(retro.RetroGame):
    """A game that is over at once."""

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return None, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return None, 0.0, True, False, {}


def test_a_script_that_dies_too_early_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(save_states, "RetroGame", Short)
    with pytest.raises(RunError, match=r"no episode of .* lasted 50 decisions"):
        make_states(Making(AIR, tmp_path / "x", every=50), script(0))


class Still(Short):
    """A game in which nothing ever changes."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return None, 0.0, False, False, {}

    def save(self, path: Path) -> str:
        return "the same"

    def screen(self) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


def test_play_that_only_repeats_itself_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(save_states, "RetroGame", Still)
    with pytest.raises(RunError, match=r"only came to states it had saved already"):
        make_states(Making(AIR, tmp_path / "x", every=5000), script(0))


def test_a_trained_agent_makes_states(tmp_path: Path) -> None:
    loaded = suite(f"retro:{AIR}")
    config = PPOConfig(NetworkConfig(torso=(), actor=(), critic=()))
    agent = agents.entry("ppo").build(loaded.env.spec, config)
    split = loaded.split("train")
    prior = Prior("ppo", config, agent.init(jr.key(0)), loaded.name, split.fingerprint, 1, 0, 0)
    priors.save(prior, tmp_path / "prior.npz")
    words = ["make-states", AIR, "--states", "2", "--every", "4", "--json"]
    made = {}
    for who, more in (("agent", ["--agent", str(tmp_path / "prior.npz")]), ("script", [])):
        make_retro([*words, "--out", str(tmp_path / who), *more])
        made[who] = [row["sha"] for row in json.loads((tmp_path / who / "states.json").read_text())["states"]]
    assert len(made["agent"]) == 2
    assert made["agent"] != made["script"], "others than those of the script"
