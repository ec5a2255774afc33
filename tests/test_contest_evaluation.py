"""The meter's score in closed form, games that repeat themselves, films that show what was scored, and the commands."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from headstart import suites
from headstart.commands import contest as command
from headstart.contest import cgroups, films, manifest, sandbox, scoring, starting
from headstart.contest.environment import Game
from headstart.contest.evaluation import Job, evaluate_submission
from headstart.contest.meter import Episode, Ledger, NotNowError
from headstart.errors import UsageError
from headstart.suites import _platformer_levels as stored


def _play(ledger: Ledger, ends: list[list[int]], reward: float = 2.0) -> Ledger:
    """Play a ledger through: `ends[t]` are the lanes' flags at step t; resets come as they may."""
    for flags in ends:
        if not ledger.playing.all():
            ledger.begin()
        ledger.spend()
        ledger.record(np.full(ledger.lanes, reward), np.array(flags, np.uint8))
    ledger.finish()
    return ledger


def test_the_score_is_the_mean_return_of_finished_episodes():
    ledger = _play(Ledger(6, 1, 100), [[0], [1], [0], [0], [2], [0]])
    assert ledger.episodes == [Episode(4.0, 2, True), Episode(6.0, 3, True), Episode(2.0, 1, False)]
    assert ledger.score() == 5.0
    assert [place.first for place in ledger.places] == [0, 2, 5]


def test_what_is_left_of_the_budget_counts_as_episodes_that_bring_nothing():
    ledger = _play(Ledger(6 + 300, 1, 100), [[0], [1], [0], [0], [2], [0]])
    assert ledger.score() == 10.0 / (2 + 3)
    early = _play(Ledger(1000, 1, 100), [[1]], reward=50.0)
    assert early.score() == pytest.approx(50.0 / (1 + 9.99))


def test_an_episode_that_is_cut_off_counts_where_there_is_no_other():
    assert _play(Ledger(3, 1, 100), [[0], [0], [0]]).score() == 6.0
    assert Ledger(3, 1, 100).score() == 0.0


def test_lanes_are_counted_together_and_steps_that_are_too_few_for_all_are_not_held_against_them():
    ledger = _play(Ledger(7, 2, 10), [[0, 1], [1, 1], [0, 0]])
    assert ledger.spent == 6
    assert ledger.episodes[:3] == [Episode(2.0, 1, True), Episode(4.0, 2, True), Episode(2.0, 1, True)]
    assert [(place.lane, place.first) for place in ledger.places[:3]] == [(1, 0), (0, 0), (1, 1)]
    assert len(ledger.episodes) == 5
    assert ledger.score() == pytest.approx(8 / 3)


def test_the_meter_says_what_is_not_now():
    ledger = Ledger(2, 1, 10)
    with pytest.raises(NotNowError, match="reset first") as error:
        ledger.spend()
    assert error.value.name == "episode-over"
    ledger.begin()
    with pytest.raises(NotNowError) as error:
        ledger.begin()
    assert error.value.name == "mid-episode"
    for _ in range(2):
        ledger.spend()
        ledger.record(np.zeros(1), np.zeros(1, np.uint8))
    with pytest.raises(NotNowError) as error:
        ledger.spend()
    assert (error.value.name, ledger.spent) == ("budget", 2)


@pytest.fixture(scope="module")
def played() -> tuple[Game, Ledger, np.ndarray]:
    """Cart-pole in three lanes, with random actions."""
    game, ledger, rng = Game("cartpole", "task-0", 3, 3), Ledger(300, 3, 500), np.random.default_rng(0)
    game.compile()
    actions = rng.integers(0, 2, (100, 3)).astype(np.uint8)
    for t in range(100):
        if not ledger.playing.all():
            game.reset(t, ledger.begin())
        ledger.spend()
        reward, ended = game.results(game.step(t, actions[t].astype(np.int32)))
        ledger.record(reward, ended)
    ledger.finish()
    return game, ledger, actions


def test_an_episode_can_be_played_again(played):
    """Total reward and length are those that were scored, and the last state is one that ends an episode."""
    game, ledger, actions = played
    assert len(ledger.episodes) > 6
    for index in (0, 3, len(ledger.episodes) - 4):
        states, total, every = films.replay(game, ledger, actions, index)
        episode = ledger.episodes[index]
        assert (total, every) == (episode.reward, 1)
        assert len(states.x) == episode.length + 1
        fell = (np.abs(states.theta) > 12 * np.pi / 180) | (np.abs(states.x) > 2.4)
        assert fell.tolist() == [False] * episode.length + [episode.finished]


def test_films_of_the_first_the_best_and_the_last(played, tmp_path):
    game, ledger, actions = played
    rewards = [episode.reward for episode in ledger.episodes]
    assert films.chosen(ledger) == {"first": 0, "best": int(np.argmax(rewards)), "last": len(rewards) - 1}
    short = ledger.episodes[0]
    only = Ledger(300, 3, 500)
    only.episodes, only.places = [short], [ledger.places[0]]
    made = films.make(game, only, actions, tmp_path)
    assert [path.stem for path in made] == ["first"]
    assert made[0].stat().st_size > 1000


def test_a_levels_text_is_the_level_of_that_name():
    name = stored.shipped("practice")[0][0]
    by_name = Game("platformer:levels=practice", name, 0, 1)
    by_text = Game("platformer:levels=practice", stored.text(name), 0, 1)
    assert by_name._program is by_text._program
    for attribute in ("_table", "task"):
        one, other = (
            jax.tree.leaves(getattr(by_name, attribute)),
            jax.tree.leaves(getattr(by_text, attribute)),
        )
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert by_text.spec == suites.suite("platformer").env.spec


@pytest.mark.parametrize(
    ("suite", "level", "complaint"),
    [
        ("platformer:levels=practice", "practice-9", "did you mean practice-"),
        ("platformer:levels=practice", "zone: nowhere\n---\n", "zone"),
        ("cartpole", "zone: x\n", "no levels that are texts"),
        ("cartpole", "task-1000", "no level"),
        ("maze-small", "task-0", "single episodes"),
    ],
)
def test_a_job_that_cannot_be_played_is_explained(suite, level, complaint):
    with pytest.raises(UsageError, match=complaint):
        Game(suite, level, 0, 1)


@pytest.mark.parametrize("template", starting.TEMPLATES)
def test_every_template_is_a_submission(template, tmp_path, capsys):
    command.contest(["init", str(tmp_path / "my_agent"), "--template", template])
    about = manifest.read(tmp_path / "my_agent")
    assert (about.name, about.lanes) == ("my_agent", starting.TEMPLATES[template][1])
    for file in (tmp_path / "my_agent").glob("*.py"):
        compile(file.read_text(), file.name, "exec")
    assert "headstart contest score" in capsys.readouterr().out
    with pytest.raises(UsageError, match="there already"):
        command.contest(["init", str(tmp_path / "my_agent")])


def test_wrong_use_of_the_commands_is_explained(tmp_path):
    with pytest.raises(UsageError, match="did you mean score"):
        command.contest(["scor"])
    with pytest.raises(UsageError, match="did you mean rainbow"):
        command.contest(["init", str(tmp_path / "a"), "--template", "rainbo"])
    with pytest.raises(UsageError, match=r"no submission\.toml"):
        command.contest(["score", str(tmp_path)])
    starting.write(tmp_path / "b")
    with pytest.raises(UsageError, match="at least one step"):
        command.contest(["score", str(tmp_path / "b"), "--budget", "0"])


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_submission_is_scored_twice_alike(tmp_path, capsys):
    """The random template, whole way through the command: sandbox, client, budget, films, files."""
    folder = tmp_path / "agent"
    starting.write(folder)
    options = ["score", str(folder), "--suite", "cartpole", "--levels", "task-3", "--budget", "200", "--json"]
    found = []
    for extra in ([], ["--no-films"]):
        command.contest([*options, *extra])
        found.append(json.loads(capsys.readouterr().out)[0])
    first, second = ({k: v for k, v in row.items() if k != "seconds"} for row in found)
    assert first == second
    assert (first["status"], first["spent"]) == ("budget", 200)
    assert 10 < first["score"] < 60
    out = tmp_path / "agent-scores"
    assert json.loads((out / "scores.json").read_text())[0]["score"] == first["score"]
    assert {path.name for path in (out / "task-3-0").iterdir()} >= {"log.txt"}
    assert any(path.stem == "best" for path in (out / "task-3-0").iterdir())


def test_what_is_scored_is_what_would_be_sent(tmp_path, capsys, monkeypatch):
    """The packed archive, by the server's formula; without a sandbox where there is none, and that is said."""
    folder = tmp_path / "agent"
    starting.write(folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "secret.py").write_text("what is not sent is not there")
    agent = (folder / "agent.py").read_text()
    (folder / "agent.py").write_text("import os\nprint('here:', sorted(os.listdir()))\n" + agent)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    options = ["score", str(folder), "--suite", "cartpole", "--levels", "task-3", "task-4", "--no-films"]
    command.contest([*options, "--budget", "200", "--seeds", "2"])
    out, said = capsys.readouterr()
    rows = json.loads((tmp_path / "agent-scores" / "scores.json").read_text())
    found = scoring.score([[row["score"] for row in rows if row["level"] == f"task-{i}"] for i in (3, 4)])
    assert len({row["score"] for row in rows}) > 1, "another seed, another level: another score"
    assert f"score {found.score:.1f} ± {found.error:.1f}; logs" in out
    assert "your agent is not isolated here" in said
    log = (tmp_path / "agent-scores" / "task-3-0" / "log.txt").read_text()
    assert "here: ['agent.py', 'client.py', 'submission.toml', 'test_agent.py']" in log


def test_a_film_that_cannot_be_made_takes_nothing_from_the_score(tmp_path, monkeypatch):
    folder, out, tools = tmp_path / "agent", tmp_path / "out", tmp_path / "tools"
    starting.write(folder)
    out.mkdir()
    tools.mkdir()
    (tools / "ffmpeg").write_text("#!/bin/sh\necho no such encoder >&2\nexit 1\n")
    (tools / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    job = Job("cartpole", "task-3", 0, 200, 60.0, "none", 0)
    verdict = evaluate_submission(folder, job, out, lambda _: True)
    assert (verdict.status, verdict.spent, verdict.films) == ("budget", 200, ())
    assert 10 < verdict.score < 60
    *_, last = verdict.log.read_text().splitlines()
    assert last.startswith("[films] there are none: ffmpeg could not write first")
    assert last.endswith("no such encoder")


SEER = """
import client, jax, jax.numpy as jnp, jax.random as jr, numpy as np
env = client.connect()
obs, _ = env.reset()
key = jr.split(jr.fold_in(jr.key(env.hello["seed"]), jnp.int32(-1)), 1)[0]
print("foreseen:", bool(np.allclose(obs, jr.uniform(key, (4,), minval=-0.05, maxval=0.05))))
"""
"""computes from the seed it is told how its first episode begins"""


@pytest.mark.parametrize(("noise", "foreseen"), [(5, True), (6 << 40, False)], ids=["told", "secret"])
def test_who_knows_the_seed_foresees_nothing(tmp_path, noise, foreseen):
    folder, out = tmp_path / "agent", tmp_path / "out"
    starting.write(folder)
    (folder / "agent.py").write_text(SEER)
    out.mkdir()
    verdict = evaluate_submission(
        folder, Job("cartpole", "task-0", 5, 200, 60.0, "none", noise), out, lambda _: True, films=False
    )
    assert f"foreseen: {foreseen}" in verdict.log.read_text(), "a noise that were the seed would be foreseen"


@pytest.mark.parametrize("command_name", ["serve", "worker"])
def test_a_broken_sandbox_is_refused_at_the_start(command_name, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sandbox, "_refusal", lambda: "bwrap: no user namespaces here")
    monkeypatch.setattr(cgroups.Group, "possible", staticmethod(lambda: True))
    where = {"serve": ["--data", str(tmp_path)], "worker": ["--server", "http://127.0.0.1:9"]}
    with pytest.raises(UsageError, match="no user namespaces here"):
        command.contest([command_name, *where[command_name]])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize("template", starting.TEMPLATES)
def test_every_template_plays_a_practice_level(template, tmp_path):
    folder, out, beats = tmp_path / "agent", tmp_path / "out", list[int]()
    starting.write(folder, template)
    out.mkdir()

    def heartbeat(spent: int) -> bool:
        beats.append(spent)
        return True

    job = Job("platformer:levels=practice", "practice-1", 0, 10_000, 900.0, "bubblewrap", 0)
    verdict = evaluate_submission(folder, job, out, heartbeat, films=template == "jerk")
    assert verdict.status == "budget", verdict.log.read_text()
    assert verdict.spent >= 10_000 - 16
    assert beats == sorted(beats)
    assert len(verdict.films) == (3 if template == "jerk" else 0)
    assert Path(verdict.log).is_file()
