"""Scalars for TensorBoard, by tensorboardX, which needs neither TensorFlow nor torch."""

from collections.abc import Mapping
from pathlib import Path

from headstart.errors import UsageError


def write_scalars(run: Path, step: int, values: Mapping[str, float]) -> None:
    """Append one event of each value to the run folder's `events`.

    Raises:
      UsageError: if the extra `tracking` is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError("TensorBoard events need the extra `tracking`: pip install 'headstart[tracking]'.") from None
    with SummaryWriter(str(run / "events")) as writer:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
