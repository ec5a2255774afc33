"""Levels of the platformer: what their text says, what is refused and where, and the table of bits made from them."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from headstart.envs.platformer_level import CODES, COLUMNS, ROWS, Level, parse
from headstart.envs.platformer_table import PAD, UNIT, number, stack, task_of, tasks_of, unpack
from headstart.envs.platformer_zones import PLAIN, ZONES
from headstart.errors import UsageError

HEAD = "zone: fern-hill\nact: 1\npar: 40\n---\n"
FLAT = HEAD + "..........\n.S......G.\n##########\n"


def test_a_level_is_read_as_it_is_drawn() -> None:
    level = parse(HEAD + "..o\nS =.G\n#/\\#\n\n")
    assert (level.zone, level.act, level.par, level.title) == ("fern-hill", 1, 40.0, "")
    assert (level.rows, level.columns, level.start, level.goal) == (3, 5, (1, 0), 4)
    drawn = {(0, 2): "o", (1, 2): "=", (1, 4): "G", (2, 0): "#", (2, 1): "/", (2, 2): "\\", (2, 3): "#"}
    for (r, c), tile in drawn.items():
        assert level.tiles[r, c] == CODES[tile], tile
    assert np.count_nonzero(level.tiles) == len(drawn), "all else is air"


def test_files_of_other_systems_are_read_alike() -> None:
    marked = "\ufeff" + FLAT.replace("\n", "\r\n")
    assert parse(marked).digest == parse(FLAT).digest


def test_codes_are_five_bits_and_all_different() -> None:
    assert len(set(CODES.values())) == len(CODES) == 23
    assert max(CODES.values()) < 32
    assert CODES["."] == 0


def test_enemies_walk_as_far_as_the_ground_is_level_and_free() -> None:
    level = parse(HEAD + "S..e.^...f..G\n####.########\n")
    walker, flyer = level.enemies
    assert (walker.x, walker.span, walker.y, walker.vertical) == (8, 48, 16, False), (
        "columns 0 to 3, then a gap"
    )
    assert (flyer.x, flyer.y, flyer.span, flyer.vertical) == (9 * 16 + 8, -8, 48, True)
    assert walker.rate * 2 * 48 == pytest.approx(65536 / 2, rel=0.01), "half a pixel a frame"
    other = parse(HEAD + "S.....^.e.^..G\n##############\n").enemies[0]
    assert (other.x, other.span) == (7 * 16 + 8, 32), "between spikes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: there is no line '---'"),
        ("zone: fern-hill\nact: 1\n---\nS.G\n", "line 1, column 1: the header lacks 'par: ...'"),
        (FLAT.replace("fern-hill", "fern-hil"), "line 1, column 6: there is no zone called 'fern-hil'; did you mean fern"),
        (FLAT.replace("act: 1", "act: 0"), "line 2, column 5: 'act' is a positive whole number, not '0'"),
        (FLAT.replace("par: 40", "par: soon"), "line 3, column 5: 'par' is a positive number of seconds, not 'soon'"),
        (FLAT.replace("act: 1", "act 1"), "line 2, column 1: the header has lines 'key: value'"),
        (FLAT.replace("par: 40", "zone: fern-hill"), "line 3, column 1: 'zone' is given twice"),
        (HEAD, "line 5, column 1: there are no rows of tiles"),
        (FLAT.replace(".S.", ".S!"), "line 6, column 3: '!' is no tile"),
        (HEAD + "S.G\n" + "#\n" * ROWS, "line 37, column 1: a level has at most 32 rows"),
        (HEAD + "S.G\n" + "#" * (COLUMNS + 1), "line 6, column 401: a row has at most 400 tiles"),
        (FLAT.replace("S", "."), "has no start; draw one 'S'"),
        (FLAT.replace("G", "."), "has no goal; draw one 'G'"),
        (FLAT.replace("S..", "S.S"), "line 6, column 4: there is a second start 'S'"),
        (HEAD + "G.S\n###\n", "line 5, column 1: the goal 'G' lies to the right of the start 'S'"),
        (FLAT.replace("...G", "P..G"), "line 6, column 6: a gate 'P' needs a switch 'p'"),
        (HEAD + "..e\nS.G\n###\n", "line 5, column 3: a walking enemy 'e' needs level ground right below it"),
        (HEAD + "..%\n...\nS.%G\n####\n", "line 7, column 3: a column has one smashable wall"),
        (HEAD + "..b\n...\nS.bG\n####\n", "line 7, column 3: a column has one bridge plank"),
        (HEAD + "..o\n" * 7 + "S..G\n####\n", "line 11, column 3: a column has at most six rings"),
        (HEAD + "S" + "b" * 33 + "G\n", "has 33 bridge planks; a level has at most 32"),
        (HEAD + "S" + "%" * 33 + "G\n", "has 33 pieces of smashable wall; a level has at most 32"),
        (HEAD + "S" + "o" * 129 + "G\n", "has 129 rings; a level has at most 128"),
        (HEAD + "S" + "........f" * 33 + "G\n", "has 33 enemies; a level has at most 32"),
        (HEAD + "S" + "." * 12 + "f" * 9 + "G\n", "has 9 enemies around column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        parse(text, "mine.txt")
    assert "mine.txt" in str(error.value)
    assert "\n" not in str(error.value)


def _random_level(seed: int) -> Level:
    """A level of noise: legal, not playable."""
    dice = np.random.default_rng(seed)
    grid = dice.choice(list("....#=/\\1234^oY{}pP"), (12, 60))
    grid[:, dice.choice(60, 5, replace=False)] = "#"
    grid[3, 20:30], grid[5, 40:44] = "b", "%"
    grid[0, 1], grid[0, 58], grid[11, 30] = "S", "G", "p"
    return parse(HEAD + "\n".join("".join(row) for row in grid))


@pytest.mark.parametrize("seed", range(3))
def test_the_table_holds_every_bit_of_every_tile(seed: int) -> None:
    level = _random_level(seed)
    words = np.asarray(stack([level]).columns)[0]
    for c in range(-3, 63):
        for r in range(ROWS):
            code = sum(int(words[b, c + PAD] >> r & 1) << b for b in range(5))
            outside = not 0 <= c < level.columns
            assert code == (CODES["#"] if outside else level.tiles[r, c]), (r, c)


@pytest.mark.parametrize("seed", range(3))
def test_rings_walls_and_planks_are_numbered_by_columns(seed: int) -> None:
    level = _random_level(seed)
    column = jnp.asarray(stack([level]).columns)[0, 5, PAD : PAD + 60]
    rings = (level.tiles == CODES["o"]).sum(0)
    np.testing.assert_array_equal(number(column, "rings"), (np.cumsum(rings) - rings)[:60])
    assert [int(number(column[c], "plank")) for c in range(20, 30)] == list(range(10))
    assert [int(number(column[c], "smash")) for c in range(40, 44)] == list(range(4))


def test_movers_survive_packing_and_are_found_from_every_column() -> None:
    level = parse(HEAD + "S" + ".....f.........m..w" * 8 + "G\n")
    table = stack([level])
    for movers, words in ((level.enemies, table.enemies), (level.platforms, table.platforms)):
        fields = np.stack([np.asarray(field) for field in unpack(jnp.asarray(words)[0])], -1)
        for mover, row in zip(movers, fields, strict=False):
            assert tuple(row) == (mover.x, mover.y, mover.vertical, mover.span, mover.rate, mover.phase)
        assert (fields[len(movers) :, 0] > COLUMNS * 16).all(), "the others are nowhere"
    firsts = np.asarray(number(jnp.asarray(table.columns)[0, 5], "enemy"))
    for c in range(level.columns):
        first = int(firsts[c + PAD])
        seen = [i for i, m in enumerate(level.enemies) if m.columns[1] >= c - 7 and m.columns[0] <= c + 12]
        assert all(first <= i < first + 8 for i in seen), c


def test_a_task_is_named_by_what_is_played() -> None:
    level, same = parse(FLAT), parse(FLAT.replace("par: 40", "par: 9\ntitle: Other"))
    other, elsewhere = parse(FLAT.replace(".S", "S.")), parse(FLAT.replace("fern-hill", "frost-peak"))
    assert level.digest == same.digest
    assert len({level.digest, other.digest, elsewhere.digest}) == 3
    task = task_of(level, 5)
    assert (int(task.level), int(task.goal), int(task.bottom)) == (5, 8 * UNIT, 3 * UNIT)
    assert task.start.tolist() == [UNIT + UNIT // 2, 2 * UNIT]
    table = tasks_of([level, other], 3)
    assert table.level.tolist() == [3, 4]
    np.testing.assert_array_equal(table.digest[0], task.digest)


def test_zones_are_58_levels_of_which_11_are_tested_beside_others_of_their_zone() -> None:
    worlds = [zone for zone in ZONES.values() if zone.world != "Contest"]
    assert (len(worlds), sum(zone.acts for zone in worlds)) == (21, 58)
    assert sorted(zone.acts for zone in worlds) == [2] * 5 + [3] * 16
    assert sum(zone.test > 0 for zone in worlds) == 11
    assert all(zone.test <= zone.acts for zone in worlds)
    plain = ZONES["fern-hill"].physics
    assert {name: int(value) for name, value in plain._asdict().items()} == {**PLAIN, "wind": 0}
