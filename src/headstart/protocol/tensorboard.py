"""Scalars for TensorBoard, by tensorboardX, which needs neither TensorFlow nor torch."""

import importlib.util
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import UsageError

Write = Callable[[int, Mapping[str, float]], None]
"""`write(step, values)` appends one event of each value."""


def require() -> None:
    """Refuse to start a run whose events could not be written.

    Raises:
      UsageError: if the extra `tracking` is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UsageError("TensorBoard events need the extra `tracking`: pip install 'headstart[tracking]'.")


@contextmanager
def scalars(run: Path | None, step: int) -> Generator[Write]:
    """Events in the run folder's `events`, from `step` on; those a killed run wrote beyond it are taken back.

    Without a folder nothing is written.
    """
    if run is None:
        yield lambda *_: None
        return
    from tensorboardX import SummaryWriter

    with SummaryWriter(
        str(run / "events"), purge_step=step + 1 if step else None, filename_suffix=f".{step}"
    ) as writer:

        def write(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.flush()

        yield write
