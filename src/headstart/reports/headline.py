"""Numbers as people read them, and the sentence a table comes down to."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_NOUNS = {
    "bandit": "bandits",
    "cartpole": "cart-poles",
    "gaussian-bandit": "Gaussian bandits",
    "maze-large": "large mazes",
    "maze-small": "small mazes",
    "platformer": "platformer levels",
    "tabular-mdp": "tabular MDPs",
}


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings with dotted names.

    >>> flat({"lr": 0.1, "memory": {"kind": "gru"}})
    {'lr': 0.1, 'memory.kind': 'gru'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def parts(suite: str) -> tuple[str, dict[str, str]]:
    """A suite's name without version, and its options.

    >>> parts("bandit-v0:arms=10,pulls=500")
    ('bandit', {'arms': '10', 'pulls': '500'})
    """
    base, _, text = suite.partition(":")
    name, _, version = base.rpartition("-v")
    split = [option.partition("=") for option in text.split(",") if option]
    options = {key: value for key, _, value in split}
    return (name if name and version.isdigit() else base), options


def noun(suite: str) -> str:
    """What a suite's tasks are called.

    >>> noun("bandit-v0:arms=10"), noun("juggling-v3")
    ('10-armed bandits', 'tasks of juggling')
    """
    name, options = parts(suite)
    if name == "bandit" and "arms" in options:
        return f"{options['arms']}-armed bandits"
    return _NOUNS.get(name, f"tasks of {name}")


def number(x: float | None, digits: int) -> str:
    """A number with a real minus sign and narrow spaces between thousands; a dash where there is none.

    >>> number(-1.26, 1), number(-0.01, 1), number(None, 2)
    ('−1.3', '0.0', '–')
    """
    if x is None or not math.isfinite(x):
        return "–"
    text = f"{abs(x):,.{digits}f}".replace(",", "\u202f")
    return f"−{text}" if x < 0 and float(f"{x:.{digits}f}") != 0 else text


def span(values: Sequence[float] | None, d: int) -> str:
    return "" if values is None or None in values else f"{number(values[0], d)} to {number(values[1], d)}"


def signed(x: float | None, d: int) -> str:
    """A difference with its sign; empty where there is none."""
    return "" if x is None else ("+" if x > 0 else "") + number(x, d)


def verdict(gap: Sequence[float] | None) -> str:
    """Whether an interval of a difference lies on one side of zero."""
    if gap is None or None in gap or gap[0] <= 0 <= gap[1]:
        return ""
    return "better" if gap[0] > 0 else "worse"


def text(value: Any) -> str:
    """A setting or fact as a reader wants it.

    >>> text(0.0003), text([1, 2]), text(None), text(100000)
    ('0.0003', '1, 2', '–', '100\u202f000')
    """
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    if isinstance(value, list | tuple):
        return ", ".join(text(v) for v in value)
    if isinstance(value, int):
        return number(float(value), 0)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def digits(scale: float | None) -> int:
    """Decimals that show an uncertainty of this size: two significant digits if it starts with 1, else one.

    >>> digits(0.116), digits(0.25), digits(4.1), digits(250.0), digits(None)
    (2, 1, 0, 0, 2)
    """
    if scale is None or not math.isfinite(scale) or scale <= 0:
        return 2
    return min(5, max(0, math.ceil(-math.log10(scale / 2.0))))


def decimals(agents: Sequence[dict[str, Any]]) -> int:
    """Decimals for the scores of a group: what the median standard error deserves."""
    errors = sorted(a["se"] for a in agents if a["se"])
    return digits(errors[len(errors) // 2]) if errors else 2


def _shown(*values: float) -> list[str]:
    """Values of one sentence, with as few decimals as keep those that differ apart."""
    largest = max(abs(v) for v in values)
    least = 0 if largest >= 1000 else 1 if largest >= 10 else 2
    for d in range(least, 6):
        shown = [number(v, d) for v in values]
        if len(set(shown)) == len(set(values)):
            return shown
    return [number(v, least) for v in values]


def overlap(group: Mapping[str, Any], agent: Mapping[str, Any]) -> int | None:
    """How many of a group's tasks an agent's prior was trained on; None where that is not known."""
    prior = agent["prior"] or {}
    if prior.get("fingerprint") == group["fingerprint"]:
        return group["tasks"]
    if "overlap" in prior:
        return prior["overlap"]
    # A result of the time before overlaps were stored; only training tasks are endless, and no other role has them.
    return 0 if prior.get("tasks", 0) is None and group["split"] != "train" else None


def _where(group: dict[str, Any], agent: dict[str, Any]) -> str:
    """The claim about novelty that the data bear out, and no more."""
    what = noun(group["suite"])
    trained = None if agent["prior"] is None else overlap(group, agent)
    if trained == group["tasks"]:
        return f"the {what} it was trained on"
    if trained == 0 and group["split"] in ("test", "valid"):
        return f"{what} it has never seen"
    played = f"{number(float(group['tasks']), 0)} {group['split']} {what}"
    return f"{played}, {number(float(trained), 0)} of which it was trained on" if trained else played


def _verdict(agent: dict[str, Any], rules: list[dict[str, Any]], other: str) -> str:
    """How a learner stands to the rules, the best of whom has the mean `other`, as shown."""
    best, versus = rules[0], agent["versus"]
    only_random = best["name"] == "random" and len(rules) == 1
    name = "random play" if only_random else "the one rule" if len(rules) == 1 else "every textbook rule"
    detail = (
        f"({other})"
        if only_random
        else f"({best['name']} {other})"
        if len(rules) == 1
        else f"(best: {best['name']} {other})"
    )
    low, high = versus["difference_interval"] or (-math.inf, math.inf)
    if low > 0:
        return f": more than {name} {detail}"
    best_rule = name if len(rules) == 1 else "the best textbook rule"
    detail = f"({other})" if only_random else f"({best['name']} {other})"
    if high < 0:
        return f": less than {best_rule} {detail}"
    if not math.isfinite(low):
        return f", against {other} for {best_rule}"
    d = digits(high - low)
    span = f"{number(versus['difference'], d)}, 95 % interval {number(low, d)} to {number(high, d)}"
    return f": not told apart from {best_rule} ({best['name']} {other}; difference {span})"


def sentence(group: dict[str, Any]) -> str:
    """One group's finding: how the best learner (or, without one, the best rule) did, on what, against whom.

    "More" and "less" are said only where the 95 % interval of the difference excludes zero.
    """
    agents = {a["name"]: a for a in group["agents"]}
    chosen = group["best_learner"] or group["best_rule"] or group["ceiling"]
    if chosen is None:
        return f"No agent has a score on {noun(group['suite'])}."
    agent = agents[chosen]
    rules = [a for a in group["agents"] if a["role"] == "rule" and math.isfinite(a["mean"])]
    learned = group["best_learner"] is not None
    means = [agent["mean"]]
    means += [rules[0]["mean"]] if learned and rules else []
    top = agents[group["ceiling"]]["mean"] if group["ceiling"] and group["ceiling"] != chosen else None
    shown = _shown(*means, *([] if top is None else [top]))
    positive = min(means) > 0
    amount = f"{'collects' if positive else 'scores'} {shown[0]}"
    if top is not None and top >= agent["mean"]:
        amount += f" of a possible {shown[-1]}" if positive else f" (the ceiling is {shown[-1]})"
    text = f"{chosen} {amount}{' reward' if positive else ''} on {_where(group, agent)}"
    if learned and rules:
        return f"{text}{_verdict(agent, rules, shown[1])}."
    if len(rules) > 1:
        return f"{text}: the best of {len(rules)} rules."
    return f"{text}."


def times(ratio: float) -> str:
    """A ratio with two or three significant digits.

    >>> times(0.62), times(3.14), times(38.7)
    ('0.62', '3.1', '39')
    """
    return number(ratio, 2 if ratio < 1 else 1 if ratio < 9.95 else 0)


def around_speedup(m: dict[str, Any]) -> str:
    """The interval of a speed-up as text; its upper end is left open where the grid is too coarse to tell it.

    >>> around_speedup({"speedup_interval": (0.0, 3.21), "open_ended": False})
    'not reached to 3.2'
    >>> around_speedup({"speedup_interval": (38.7, 47.0), "open_ended": True})
    '39 or more'
    """
    if m["speedup_interval"] is None:
        return ""
    low, high = m["speedup_interval"]
    least = times(low) if low else "not reached"
    return f"{least} or more" if m["open_ended"] else f"{least} to {times(high)}"


def _faster(m: dict[str, Any]) -> tuple[str, str] | None:
    """How many times as fast a prior makes it and the interval of that, if it is known to be faster."""
    around = m["speedup_interval"]
    if m["speedup"] is None or m["speedup"] <= 1 or (around is not None and around[0] <= 1):
        return None
    interval = f" (95 % interval {around_speedup(m)})" if around else ""
    return f"{'at least ' if m['at_once'] else ''}{times(m['speedup'])} times as fast", interval


def _apart(found: dict[str, Any], over: str) -> str:
    """A difference of scores in words; `over` is whom it is to."""
    size = found["difference"]
    around = found["difference_interval"]
    if around is None:
        return f"{number(abs(size), digits(abs(size) / 10))} {'more' if size > 0 else 'less'} than {over}"
    d = digits(around[1] - around[0])
    if around[0] <= 0 <= around[1]:
        text = f"difference {number(size, d)}, 95 % interval {span(around, d)}"
        return f"not told apart from {over} ({text})"
    low_high = sorted(abs(v) for v in around)
    more = "more" if size > 0 else "less"
    return f"{number(abs(size), d)} {more} than {over} (95 % interval {span(low_high, d)})"


def _tasks_of(group: dict[str, Any], agent: dict[str, Any]) -> str:
    count, split = len(group["tasks"]), group["split"]
    unseen = agent["prior"] is not None and split in ("test", "valid")
    if count == 1:
        return f"one {'unseen' if unseen else split} task of {parts(group['suite'])[0]}"
    return f"{number(float(count), 0)} {'unseen' if unseen else split} {noun(group['suite'])}"


def transfer_sentence(group: dict[str, Any]) -> str:
    """Who learned fastest, by how much: "faster", "more" and "less" only where 95 % intervals bear them out."""
    agents = {a["name"]: a for a in group["agents"]}
    if group["best"] is None:
        return f"No run on {noun(group['suite'])} has a score."
    best = agents[group["best"]]
    score = number(best["mean"], digits(best["se"]) if best["se"] else 1)
    where = _tasks_of(group, best)
    scores = f"{best['name']} scores {score} over {number(float(group['budget']), 0)} steps on {where}"
    m = best["measures"]
    if m is None:
        learned = [a for a in agents.values() if a["role"] == "learner" and math.isfinite(a["mean"])]
        if group["lead"] is None:
            return f"{scores}."
        against = _apart(group["lead"], group["lead"]["over"])
        return f"{scores}, {against}{': no prior does better' if learned else ''}."
    over = f"{m['over']} from scratch"
    faster, apart = _faster(m), _apart(m, over)
    if faster is None or apart.startswith("not"):
        return f"{scores}, {apart}."
    if best["kind"] == "frozen":
        return f"{scores}, {apart}; to where that ends it gets {''.join(faster)}."
    around = m["difference_interval"]
    d = digits(around[1] - around[0]) if around else 1
    more = f"{number(m['difference'], d)} more{f' ({span(around, d)})' if around else ''}"
    steps = number(float(group["budget"]), 0)
    learns = f"{best['name']} learns {where} {faster[0]} as {over}{faster[1]}"
    return f"{learns}: over {steps} steps it scores {score}, {more}."
