"""Priors: what training on the train split left, in one small file that can be shipped.

A prior is a `.npz` of the agent state's leaves with a JSON description: agent, settings, suite, split fingerprint, steps.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from headstart import agents, suites
from headstart.errors import UsageError, unknown
from headstart.results import write_bytes
from headstart.tasks import Split, Suite
from headstart.types import Agent, AgentState, Spec

SCHEMA = 1


@dataclass(frozen=True)
class Prior:
    """A trained agent: its name in the registry, its settings, its state, and where it comes from."""

    agent: str
    config: Any
    state: AgentState
    suite: str
    """canonical name of the suite it was trained on"""
    fingerprint: str
    """of the split it was trained on"""
    tasks: int | None
    """how many training tasks; None if endless"""
    steps: int
    seed: int
    name: str = ""
    seen: tuple[str, ...] = ()
    """digests of the training tasks, where they are finite"""
    split: str = ""
    """role of the training tasks; empty where it was not kept"""

    def build(self, suite: Suite) -> Agent:
        """The agent, ready to play `suite`.

        Raises:
          UsageError: if the suite's observations or actions are not those it was trained on.
        """
        trained = suites.suite(self.suite).env.spec
        _check_spaces(self, trained, suite)
        return agents.entry(self.agent).build(suite.env.spec, self.config)

    def overlap(self, split: Split) -> int | None:
        """How many of a split's tasks it was trained on; None where that is not known.

        Tasks of different roles are different tasks, and only training tasks are endless.
        """
        if self.seen:
            seen = set(self.seen)
            return sum(digest in seen for digest in split.digests)
        role = "train" if self.tasks is None else self.split
        return 0 if role and role != split.role else None

    @property
    def provenance(self) -> dict[str, Any]:
        """What a result says about where its weights came from."""
        names = ("agent", "suite", "fingerprint", "tasks", "steps", "seed")
        return {name: getattr(self, name) for name in names}


def _check_spaces(prior: Prior, trained: Spec, suite: Suite) -> None:
    spec = suite.env.spec
    for what in ("action", "obs"):
        if getattr(trained, what) != getattr(spec, what):
            space = "observation" if what == "obs" else what
            raise UsageError(
                f"prior {prior.name or prior.agent} was trained on {prior.suite}, whose {space} space is not that of "
                f"{suite.name}; evaluate it on a suite with the same spaces."
            )


def from_plain(default: Any, values: Mapping[str, Any]) -> Any:
    """A config like `default` with plain values (as JSON keeps them) filled in, nested configs included."""
    changed: dict[str, Any] = {}
    known = {field.name for field in dataclasses.fields(default)}
    for name, value in values.items():
        if name not in known:
            raise unknown("setting", name, known)
        old = getattr(default, name)
        if dataclasses.is_dataclass(old):
            changed[name] = from_plain(old, value)
        else:
            changed[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(default, **changed)


def save(prior: Prior, path: Path) -> None:
    """Write a prior to one file, whole or not at all.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    about = {
        "schema": SCHEMA,
        "config": dataclasses.asdict(prior.config),
        "seen": prior.seen,
        "split": prior.split,
    } | prior.provenance
    arrays: dict[str, Any] = {
        f"leaf{i:04d}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(prior.state))
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
    write_bytes(path, buffer.getvalue())


_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, zip files and JSON raise on a file that is damaged or something else."""


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            about: dict[str, Any] = dict(json.loads(str(file["about"])))
            leaves = [file[name] for name in sorted(file.files) if name.startswith("leaf")]
            schema = int(about["schema"])
    except FileNotFoundError:
        raise UsageError(f"there is no prior at {path}.") from None
    except _UNREADABLE as error:
        raise UsageError(f"{path} is damaged or no headstart prior ({type(error).__name__}).") from error
    if schema > SCHEMA:
        raise UsageError(f"{path} was written by a newer headstart; upgrade to read it.")
    return about, leaves


def load(path: Path, name: str = "") -> Prior:
    """Read a prior.

    Raises:
      UsageError: if the file is missing, truncated, foreign, newer, or does not fit the agent it names.
    """
    about, leaves = _read(path)
    try:
        entry = agents.entry(about["agent"])
        config = from_plain(entry.config, about["config"])
        agent = entry.build(suites.suite(about["suite"]).env.spec, config)
        like = jax.eval_shape(agent.init, jr.key(0))
        wanted = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(like)]
        if wanted != [(leaf.shape, leaf.dtype) for leaf in leaves]:
            raise UsageError("it holds weights of other shapes than its settings describe.")
        state = jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(leaf) for leaf in leaves])
        seen = tuple(str(digest) for digest in about.get("seen", ()))
        rest = {key: about[key] for key in ("suite", "fingerprint", "tasks", "steps", "seed")}
        split = str(about.get("split", ""))
    except UsageError as error:
        raise UsageError(f"{path} cannot be used: {error}") from error
    except KeyError as error:
        raise UsageError(f"{path} lacks {error}; it is no complete headstart prior.") from error
    except (TypeError, AttributeError) as error:
        raise UsageError(f"{path} describes settings that cannot be read ({error}).") from error
    return Prior(about["agent"], config, state, **rest, name=name or path.stem, seen=seen, split=split)


def shipped() -> dict[str, Path]:
    """The priors that come with the package: name to file."""
    folder = Path(str(resources.files("headstart") / "data" / "priors"))
    return {path.stem: path for path in sorted(folder.glob("*.npz"))}


def describe(path: Path) -> dict[str, Any]:
    """A prior's description without its weights."""
    return _read(path)[0]


def find(name: str) -> Prior:
    """A prior by name (shipped), by file, or by the run folder that holds it.

    Raises:
      UsageError: if there is none.
    """
    if name in shipped():
        return load(shipped()[name], name)
    path = Path(name)
    try:
        if path.is_dir():
            kept = path / "prior.npz"
            if not kept.exists():
                raise UsageError(
                    f"the folder {name} holds no prior; a run leaves one there when it is finished."
                )
            return load(kept, path.resolve().name)
        if path.exists():
            return load(path, path.resolve().parent.name if path.name == "prior.npz" else path.stem)
    except OSError as error:
        raise UsageError(f"{name[:80]} cannot be looked at ({error.strerror}).") from error
    raise unknown("agent, shipped prior or run folder", name, {*agents.REGISTRY, *shipped()})
