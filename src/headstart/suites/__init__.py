"""Suites by name: `suite("bandit", arms=10, pulls=100)` or, as one string, `suite("bandit-v0:arms=10,pulls=100")`."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from headstart._registry import resolve
from headstart.errors import UsageError, unknown
from headstart.tasks import Suite

REGISTRY: dict[str, str] = {
    "bandit-v0": "headstart.suites.bandit:bernoulli",
    "cartpole-v0": "headstart.suites.cartpole:cartpole",
    "gaussian-bandit-v0": "headstart.suites.bandit:gaussian",
    "maze-large-v0": "headstart.suites.maze:large",
    "maze-small-v0": "headstart.suites.maze:small",
    "platformer-v0": "headstart.suites.platformer:platformer",
    "tabular-mdp-v0": "headstart.suites.tabular_mdp:tabular_mdp",
}

FOREIGN: dict[str, str] = {
    "asgym-v0": "headstart.suites.asgym:asgym",
    "procgen-v0": "headstart.suites.procgen:procgen",
    "retro-sonic-v0": "headstart.suites.retro:retro_sonic",
    "retro-v0": "headstart.suites.retro:retro",
}
"""suites whose simulators are no JAX programs: `loops.host` plays them, in processes of their own"""


def _versioned(name: str) -> str:
    """The newest version of a name given without one."""
    versions = [known for known in (*REGISTRY, *FOREIGN) if known.rsplit("-v", 1)[0] == name]
    return max(versions, key=lambda known: int(known.rsplit("-v", 1)[1])) if versions else name


def _parse(text: Any, default: Any, option: str, name: str) -> Any:
    """An option's value as its default's type: of that type already, or written out."""
    kind = type(default)
    if isinstance(text, kind):
        return text
    text = text if isinstance(text, str) else repr(text)
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(
            f"option {option} of suite {name} is of type {kind.__name__}, not '{text}'."
        ) from None


def options(name: str) -> dict[str, Any]:
    """A suite's options and their defaults."""
    build: Callable[..., Suite] = resolve("suite", REGISTRY | FOREIGN, _versioned(name.partition(":")[0]))
    return {p.name: p.default for p in inspect.signature(build).parameters.values()}


def is_foreign(name: str) -> bool:
    """Whether a suite's simulators are no JAX programs, told by its name alone."""
    return _versioned(name.partition(":")[0]) in FOREIGN


def about(name: str) -> str:
    """The first line of what a suite's builder says of itself; the suite is not built."""
    build: Callable[..., Suite] = resolve("suite", REGISTRY | FOREIGN, _versioned(name.partition(":")[0]))
    return (build.__doc__ or "").strip().splitlines()[0].rstrip(".")


def suite(name: str, **chosen: Any) -> Suite:
    """Load a suite.

    Args:
      name: a registered name, with or without its version, and options after a colon: "bandit-v0:arms=5,pulls=10"; the
        first may be without its name where it is a word: "retro:Airstriker-Genesis-v0".
      **chosen: the same options as keywords; they win over those in the name.

    Returns:
      The suite, whose own `name` is the canonical one: versioned, with the options that differ from the defaults.

    Raises:
      UsageError: for an unknown suite or option, or an option's value out of range.
    """
    base, _, text = name.partition(":")
    base = _versioned(base)
    build: Callable[..., Suite] = resolve("suite", REGISTRY | FOREIGN, base)
    defaults = options(base)
    given: dict[str, Any] = {}
    for place, part in enumerate(filter(None, text.split(","))):
        option, equals, value = part.partition("=")
        main = next(iter(defaults), "")
        if not (place or equals or option in defaults) and isinstance(defaults.get(main), str):
            option, value = main, part  # retro:Airstriker-Genesis-v0
        given[option] = value
    given |= chosen
    for option in given:
        if option not in defaults:
            raise unknown(f"option of suite {base}", option, defaults)
    values = {option: _parse(value, defaults[option], option, base) for option, value in given.items()}
    changed = {option: value for option, value in sorted(values.items()) if value != defaults[option]}
    canonical = ",".join(f"{option}={value}" for option, value in changed.items())
    return dataclasses.replace(build(**values), name=f"{base}:{canonical}" if canonical else base)


__all__ = ["FOREIGN", "REGISTRY", "about", "is_foreign", "options", "suite"]
