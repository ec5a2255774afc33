"""Numbers as people read them, and the sentence a table comes down to."""

import math
from collections.abc import Sequence
from typing import Any

_NOUNS = {
    "bandit": "bandits",
    "cartpole": "cart-poles",
    "gaussian-bandit": "Gaussian bandits",
    "maze-large": "large mazes",
    "maze-small": "small mazes",
    "tabular-mdp": "tabular MDPs",
}


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


def _where(group: dict[str, Any], agent: dict[str, Any]) -> str:
    """The claim about novelty that the data bear out, and no more."""
    what = noun(group["suite"])
    trained = (agent["prior"] or {}).get("fingerprint")
    if trained is not None and trained == group["fingerprint"]:
        return f"the {what} it was trained on"
    if agent["prior"] is not None and group["split"] in ("test", "valid"):
        return f"{what} it has never seen"
    return f"{group['tasks']:,} {group['split']} {what}".replace(",", "\u202f")


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
