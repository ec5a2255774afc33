"""Checkpoints of a run's `Carry`, by Orbax: written beside the last one and put in its place in one step, so that a run
killed at any moment has a whole one to go on from."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from headstart.errors import RunError, UsageError

SCHEMA = 1


def _manager(folder: Path) -> Any:
    logging.getLogger("absl").setLevel(
        logging.CRITICAL
    )  # orbax narrates every save, and prints what it then raises
    import orbax.checkpoint as ocp  # a second of import, paid only by runs that save

    options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.resolve(), options=options)


def save(folder: Path, step: int, tree: PyTree, about: dict[str, Any]) -> None:
    """Write a checkpoint; the newest two are kept.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    import orbax.checkpoint as ocp

    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    try:
        with _manager(folder) as manager:
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(leaves),
                about=ocp.args.JsonSave(about | {"schema": SCHEMA, "leaves": _shapes(leaves)}),
            )
            manager.save(step, args=items)
    except Exception as error:  # orbax raises whatever its storage layers raise on a full disk
        why = _reason(error)
        raise RunError(
            f"the checkpoint under {folder} could not be written ({why}); the one before is kept."
        ) from error


def _shapes(leaves: dict[str, Any]) -> list[Any]:
    """Shape and type of each leaf, as JSON has them: orbax pads or cuts what is asked for in another shape."""
    return [[list(leaf.shape), str(leaf.dtype)] for leaf in leaves.values()]


def _reason(error: Exception) -> str:
    """What the system said, which tensorstore buries in its own words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else type(error).__name__


def latest(folder: Path) -> int | None:
    """The step of the newest whole checkpoint; None if there is none."""
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
    return max(steps, default=None)


def _agrees(kept: Any, wanted: Any) -> bool:
    """Whether all that was kept is as wanted; settings that came into being since then were not kept."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        return all(_agrees(value, wanted.get(name)) for name, value in kept.items())
    return bool(kept == wanted)


def load(folder: Path, step: int, like: PyTree, about: dict[str, Any]) -> PyTree:
    """Read a checkpoint into the structure of `like`.

    Raises:
      UsageError: if it is truncated, was made by a newer headstart, or belongs to a run with other settings than `about`.
    """
    import orbax.checkpoint as ocp

    where = f"the checkpoint {folder / str(step)}"
    damaged = f"{where} is damaged or no headstart checkpoint; delete it to go on from the one before"
    shapes = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(like))}
    try:
        with _manager(folder) as manager:
            found = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
            if "schema" not in found:
                raise UsageError(f"{damaged}.")
            if found["schema"] > SCHEMA:
                raise UsageError(f"{where} was written by a newer headstart; upgrade to read it.")
            differing = [k for k in about if not _agrees(found.get(k), about[k])]
            if differing:
                raise UsageError(
                    f"{where} belongs to a run with another {', '.join(differing)}; resume with the settings it was "
                    "started with."
                )
            if found.get("leaves") != _shapes(shapes):
                raise UsageError(f"{damaged}.")
            wanted = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), shapes)
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted)))[
                "state"
            ]
    except UsageError:
        raise
    except Exception as error:  # orbax raises whatever its storage layers raise on damaged files
        raise UsageError(f"{damaged} ({_reason(error)}).") from error
    leaves = [state[str(i)] for i in range(len(shapes))]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
