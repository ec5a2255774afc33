"""Reports: what they claim follows from the data, and the page is complete, readable and honest."""

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import RunError, UsageError
from headstart.reports import canvas, figures, headline
from headstart.reports.page import report
from headstart.reports.summary import summary
from headstart.results import Curve, Result, from_json, to_json

MEANS = {"best-arm": 83.0, "rl2": 79.0, "ucb1": 78.0, "greedy": 75.0, "random": 50.0}
PRIOR = {"suite": "bandit-v0", "fingerprint": "trained", "tasks": None, "steps": 1000, "seed": 0}
HOSTILE = "a<b>&$x$"


def result(agent: str, mean: float = 50.0, **changes: Any) -> Result:
    """A made-up result: 200 tasks whose difficulty all agents share."""
    seed = changes.get("seed", 0)
    shared = np.random.default_rng(0).normal(0, 8, 200)
    own = np.random.default_rng([seed, *agent.encode()]).normal(0, 1, 200)
    learned = agent.startswith("rl2")
    base = Result(
        suite="bandit-v0",
        split="test",
        fingerprint="0123456789abcdef",
        agent=agent,
        config={"lr": 3e-4, "memory": {"kind": "gru"}} if learned else {},
        seed=seed,
        budget=0,
        spent=20_000,
        scores=(mean + shared + own - own.mean() - shared.mean()).tolist(),
        within=[mean / 100] * 100,
        lengths=[1.0] * 100,
        curve=Curve([100, 200, 300], [50.0, 60.0, mean]) if learned else None,
        prior=PRIOR | {"seed": seed} if learned else None,
        versions={"headstart": "0.1.0"},
        commit="abcdef",
        command="headstart evaluate bandit",
    )
    return dataclasses.replace(base, **changes)


def table(**means: float) -> list[Result]:
    return [result(name.replace("_", "-"), mean) for name, mean in means.items()]


def bandits() -> list[Result]:
    return [result(name, mean) for name, mean in MEANS.items()]


def only(results: Sequence[Result]) -> dict[str, Any]:
    (group,) = summary(results)["groups"]
    return group


class Page(HTMLParser):
    """What a reader, a screen reader or a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += " " + data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], Path]:
    """A report on several suites with everything in it."""
    folder = tmp_path_factory.mktemp("report")
    Image.new("RGB", (4, 4)).save(folder / "trial.gif")
    results = [*bandits(), result("rl2", 79.4, seed=1), result(HOSTILE, 60.0)]
    maze = {"suite": "maze-small-v0", "within": [0.5, 0.7, 0.8], "lengths": [50.0, 30.0, 25.0]}
    facts = {"finished_early": [0.9, 0.95, 1.0], "second_shorter": 0.84, "odd": ["x"]}
    results += [result("rl2", 0.9, **maze, facts=facts), result("random", -0.2, **maze, facts=facts)]
    results += [result("rl2", 0.5, **maze, fingerprint="fedcba9876543210")]
    path = report(
        results, folder / "new" / "page.html", "A & B", {"A <trial>": str(folder / "trial.gif")}, "make it"
    )
    return results, path


def test_the_page_is_complete_and_accessible(rich: tuple[list[Result], Path]) -> None:
    text = rich[1].read_text()
    page = Page(text)
    assert page.open == []
    assert page.count("h1") == 1
    assert page.count("script") == page.count("iframe") == 0
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert page.count("table") == page.count("caption") == 4  # of three groups, and of one suite's facts
    assert page.count("svg") == sum(
        a.get("role") == "img" and len(a["aria-label"]) > 25 for _, a in page.tags
    )
    assert [a["alt"] for name, a in page.tags if name == "img"] == ["A <trial>"]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("href", "xlink:href", "src"):
            value = attributes.get(name, "data:")
            assert value.startswith("data:") or value.removeprefix("#") in ids, (
                "nothing is loaded from elsewhere"
            )
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert not re.search(r"url\((?!#)|@import|#0000f|#00a0[0-9a-f]{2}\b", text)


def test_the_page_says_what_the_summary_says(rich: tuple[list[Result], Path]) -> None:
    results, path = rich
    words = " ".join(Page(path.read_text()).words.split())
    numbers = summary(results)
    for group in numbers["groups"]:
        d = headline.decimals(group["agents"])
        assert group["fingerprint"] in words
        assert group["headline"].split(": ")[-1] in words
        for agent in group["agents"]:
            shown = f"{headline.number(agent['mean'], d)} ± {headline.number(agent['se'], d)}"
            assert shown in words
            assert (
                f"{headline.number(agent['iqm'], d)} {headline.number(agent['iqm_interval'][0], d)} to"
                in words
            )
    for expected in (
        "make it",
        "A & B",
        HOSTILE,
        "memory.kind",
        "gru",
        "0.9, 0.95, 1",
        "commit abcdef",
        "0.1.0",
    ):
        assert expected in words
    assert "This command made the results on this page: headstart evaluate bandit" in words
    assert "This command made the page of them: make it" in words


def test_a_page_names_only_commands_that_made_it(tmp_path: Path) -> None:
    def said(results: list[Result], command: str = "") -> str:
        path = report(results, str(tmp_path / "page.html"), command=command)
        return " ".join(Page(path.read_text()).words.split())

    named, bare = result("ucb1"), result("greedy", command="")
    assert "made the page" not in said([named])
    both = said([named, bare, result("rl2", command="headstart train")], "headstart report")
    assert (
        "These commands made the results on this page, but for 1 whose origin is not stored: "
        "headstart evaluate bandit headstart train This command made the page of them: headstart report"
    ) in both
    assert "This command made the page: headstart report" in said([bare], "headstart report")
    assert "This command" not in said([bare])
    assert said([named], "headstart evaluate bandit").count("headstart evaluate bandit") == 1


def test_numbers_in_figures_are_not_cut(rich: tuple[list[Result], Path]) -> None:
    group = summary(rich[0])["groups"][0]
    drawn = figures.drawings(group, canvas.looks([group]), "g")
    scores = next(d for d in drawn if d.name == "g-scores")
    for agent in group["agents"]:
        assert headline.number(agent["mean"], headline.decimals(group["agents"])) in scores.svg
    assert [d.name for d in drawn] == ["g-scores", "g-within", "g-regret", "g-curve", "g-profile"]
    assert max(len(d.svg) for d in drawn) < 60_000


def test_one_agent_looks_the_same_everywhere(rich: tuple[list[Result], Path]) -> None:
    groups = summary(rich[0])["groups"]
    looks = canvas.looks(groups)
    assert set(looks) == {a["name"] for group in groups for a in group["agents"]}
    assert looks["best-arm"].variable == "--ink"
    assert looks["rl2"].variable == "--agent0"
    pairs = [(look.variable, str(look.dash)) for look in looks.values()]
    assert len(set(pairs)) == len(pairs)


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    pages = [report(bandits()[:2], tmp_path / f"{i}.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_colour_can_be_read(rich: tuple[list[Result], Path]) -> None:
    style = rich[1].read_text().partition("<style>")[2].partition("</style>")[0]
    roots = [
        dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{.*?\}", style, re.S)
    ]
    assert len(roots) == 2, "light and dark"
    for colours in roots:
        for name in set(colours) - {"paper", "wash", "rule"}:
            for ground in ("paper", "wash"):
                light, dark = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_the_headline_follows_from_the_numbers() -> None:
    assert only(bandits())["headline"] == (
        "rl2 collects 79.0 of a possible 83.0 reward on bandits it has never seen: more than every textbook rule "
        "(best: ucb1 78.0)."
    )
    assert (
        "less than the best textbook rule (ucb1 80.0)"
        in only(table(rl2=79.0, ucb1=80.0, greedy=70.0))["headline"]
    )
    same = only(table(rl2=78.01, ucb1=78.0, greedy=70.0))["headline"]
    assert "not told apart from the best textbook rule (ucb1 78.00; difference 0.0" in same
    assert only(table(rl2=5.0, random=-3.0))["headline"] == (
        "rl2 scores 5.0 on bandits it has never seen: more than random play (−3.0)."
    ).replace("5.0", "5.00").replace("3.0", "3.00")
    assert only(table(ucb1=78.0, greedy=75.0))["headline"] == (
        "ucb1 collects 78.0 reward on 200 test bandits: the best of 2 rules."
    )
    assert only(table(best_arm=83.0))["headline"] == "best-arm collects 83.0 reward on 200 test bandits."


def test_novelty_is_claimed_only_where_it_is_true() -> None:
    known = [dataclasses.replace(r, fingerprint="trained", split="train") for r in bandits()]
    assert "on the bandits it was trained on" in only(known)["headline"]
    assert only(known)["notes"] == ["rl2 was trained on these very tasks."]
    scratch = [dataclasses.replace(r, prior=None) for r in bandits()]
    assert "on 200 test bandits" in only(scratch)["headline"]
    elsewhere = [dataclasses.replace(r, split="train") for r in bandits()]
    assert "never seen" not in only(elsewhere)["headline"]


@pytest.mark.parametrize(
    ("about", "where", "notes"),
    [
        ({"tasks": 9, "overlap": 0}, "bandits it has never seen", []),
        (
            {"tasks": 9, "overlap": 200},
            "the bandits it was trained on",
            ["rl2 was trained on these very tasks."],
        ),
        (
            {"tasks": 9, "overlap": 9},
            "200 test bandits, 9 of which it was trained on",
            ["rl2 was trained on 9 of these 200 tasks."],
        ),
        (
            {"tasks": 9, "overlap": None},
            "200 test bandits: more",
            ["Whether rl2 was trained on some of these tasks is not stored."],
        ),
        (
            {"tasks": 9},
            "200 test bandits: more",
            ["Whether rl2 was trained on some of these tasks is not stored."],
        ),
        (
            {"suite": "bandit-v0:pulls=5"},
            "bandits it has never seen",
            ["rl2 was trained on another suite, bandit-v0:pulls=5."],
        ),
    ],
)
def test_novelty_is_claimed_only_without_overlap(about: dict[str, Any], where: str, notes: list[str]) -> None:
    group = only([result("ucb1", 78.0), result("rl2", 79.0, prior=PRIOR | about)])
    assert f"on {where}" in group["headline"]
    assert group["notes"] == notes


def test_roles_rivals_and_order() -> None:
    group = only(bandits())
    assert [a["name"] for a in group["agents"]] == list(MEANS)
    assert [a["role"] for a in group["agents"]] == ["ceiling", "learner", "rule", "rule", "rule"]
    assert (group["best_rule"], group["best_learner"], group["ceiling"]) == ("ucb1", "rl2", "best-arm")
    versus = {a["name"]: a["versus"] for a in group["agents"]}
    assert versus["best-arm"] is versus["ucb1"] is None
    assert versus["rl2"]["difference"] == pytest.approx(1.0)
    low, high = versus["rl2"]["difference_interval"]
    paired = np.array(result("rl2", 79.0).scores) - np.array(result("ucb1", 78.0).scores)
    assert high - low == pytest.approx(2 * 1.96 * paired.std() / math.sqrt(200), rel=0.15), "tasks are paired"
    assert versus["rl2"]["probability"] == pytest.approx(np.mean(paired > 0))
    assert versus["random"]["probability"] == 0.0


def test_regret_is_what_the_ceiling_collected_more() -> None:
    agents = {a["name"]: a for a in only(bandits())["agents"]}
    assert agents["rl2"]["regret"] == pytest.approx(0.04 * np.arange(1, 101))
    assert agents["best-arm"]["regret"] is None
    assert all(a["regret"] is None for a in only(bandits()[1:])["agents"])


def test_tasks_are_never_mixed() -> None:
    mixed = [*bandits(), result("rl2", 10.0, fingerprint="other"), result("rl2", 20.0, split="valid")]
    groups = summary(mixed)["groups"]
    assert [(g["split"], len(g["agents"])) for g in groups] == [("test", 5), ("test", 1), ("valid", 1)]
    assert all("must not be compared across them" in g["notes"][0] for g in groups[:2])
    assert groups[2]["notes"] == []


def test_seeds_are_pooled_copies_dropped_and_settings_kept_apart() -> None:
    one = result("rl2", 79.0)
    pooled = only([one, one, result("rl2", 81.0, seed=1)])["agents"]
    assert [(a["name"], a["seeds"], a["mean"]) for a in pooled] == [("rl2", [0, 1], pytest.approx(80.0))]
    assert pooled[0]["se"] > only([one])["agents"][0]["se"], (
        "two trainings that differ by 2 say less than one seems to"
    )
    other = result("rl2", 70.0, config={"lr": 1e-3, "memory": {"kind": "gru"}})
    assert [a["name"] for a in only([one, other])["agents"]] == ["rl2 lr=0.0003", "rl2 lr=0.001"]
    clash = only([one, result("rl2", 70.0)])["agents"]
    assert [(a["name"], len(a["seeds"])) for a in clash] == [("rl2", 1), ("rl2 (2)", 1)]


def test_learning_curves_meet_on_a_common_grid() -> None:
    first = result("rl2", curve=Curve([0, 100], [0.0, 10.0]))
    second = result("rl2", seed=1, curve=Curve([0, 50, 200], [0.0, 15.0, 60.0]))
    curve = only([first, second])["agents"][0]["curve"]
    assert curve["steps"][0] == 0
    assert curve["steps"][-1] == 100
    assert curve["values"] == pytest.approx(np.array(curve["steps"]) * 0.2)


def test_what_is_missing_is_left_out_and_said(tmp_path: Path) -> None:
    broken = bandits()
    spoiled = dataclasses.replace(
        broken[2], scores=[math.nan, *broken[2].scores[1:]], within=[math.nan] * 100
    )
    lost = result("lost", scores=[math.nan] * 200, within=[], lengths=[])
    curve = Curve([100, 200, 300], [math.nan, 60.0, 61.0])
    results = [broken[0], dataclasses.replace(broken[1], curve=curve), spoiled, lost]
    stored = [from_json(json.loads(json.dumps(to_json(r))), "test") for r in results]
    numbers = summary(stored)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    agents = {a["name"]: a for a in numbers["groups"][0]["agents"]}
    assert agents["ucb1"]["mean"] == pytest.approx(np.mean(broken[2].scores[1:]))
    assert agents["lost"]["mean"] is agents["lost"]["iqm_interval"] is None
    assert agents["rl2"]["curve"]["steps"][0] == 200
    assert any("ucb1 has no score for 1 " in note for note in numbers["groups"][0]["notes"])
    assert "lost" in Page(report(stored, tmp_path / "page.html").read_text()).words


@pytest.mark.parametrize("tasks", [1, 2])
def test_very_few_tasks_are_reported_too(tmp_path: Path, tasks: int) -> None:
    few = [dataclasses.replace(r, scores=r.scores[:tasks], within=[], lengths=[]) for r in bandits()]
    first = only(few)["agents"][0]
    assert (first["se"] is None) == (first["mean_interval"] is None) == (tasks == 1)
    assert report(few, tmp_path / "page.html").exists()


def test_wrong_use_is_one_sentence(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(UsageError, match="there are no results to report"):
        report([], page)
    with pytest.raises(UsageError, match=r"the result of ucb1 on bandit-v0 \(seed 3\) holds no scores"):
        report([result("ucb1", seed=3, scores=[])], page)
    with pytest.raises(UsageError, match="different numbers of scores"):
        report([result("ucb1"), result("greedy", scores=[1.0])], page)
    with pytest.raises(UsageError, match="is a folder"):
        report(bandits()[:1], tmp_path)
    with pytest.raises(UsageError, match=r"nothing.png cannot be read"):
        report(bandits()[:1], page, pictures={"none": tmp_path / "nothing.png"})
    with pytest.raises(UsageError, match=r"is no picture a page can show; choose from: \.gif"):
        report(bandits()[:1], page, pictures={"none": tmp_path / "table.csv"})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be made"):
        report(bandits()[:1], tmp_path / "file" / "page.html")
    assert not page.exists()


def test_labels_are_spread_as_little_as_possible() -> None:
    wanted = sorted(np.random.default_rng(0).uniform(0, 100, 8).tolist())
    placed = canvas._spread(wanted, 11.0, 0.0, 100.0)
    assert min(np.diff(placed)) >= 11.0 - 1e-9
    assert placed[0] >= 0
    assert placed[-1] <= 100
    assert canvas._spread([5.0, 50.0], 11.0, 0.0, 100.0) == [5.0, 50.0]


def test_long_trials_are_thinned_without_moving_the_mean() -> None:
    y = np.random.default_rng(0).uniform(size=500)
    x, thin = canvas.thin(y)
    assert len(x) <= canvas.POINTS
    assert (thin[:5] == y[:5]).all()
    edges = [0.5]  # a window's centre and its left edge give its right edge
    for centre in x:
        edges.append(2 * centre - edges[-1])
    assert edges[-1] == 500.5
    assert np.sum(np.diff(edges) * thin) == pytest.approx(y.sum())
    assert np.array_equal(canvas.thin(y[:60])[1], y[:60])


def test_importing_reports_is_cheap() -> None:
    """Heavy libraries wait until a page is made."""
    heavy = ("jax", "jinja2", "matplotlib", "scipy")
    code = f"import sys, headstart.reports.page; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
