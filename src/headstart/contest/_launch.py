"""Runs before an agent: joins control groups, sets limits, and becomes it. Standard library only, run as a script.

python -I -S _launch.py '{"limits": {"RLIMIT_NOFILE": 256}, "groups": ["/sys/fs/cgroup/..."]}' COMMAND ARGUMENT...
"""

import json
import os
import resource
import sys
from pathlib import Path


def main(settings: str, command: list[str]) -> None:
    """Join the control groups, set the limits (never above those there are), become the command."""
    wanted = json.loads(settings)
    for group in wanted.get("groups", []):
        Path(group).write_text(str(os.getpid()))
    for name, value in wanted.get("limits", {}).items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = [value, value] if isinstance(value, int) else value
        least = most if hard == resource.RLIM_INFINITY else [min(one, hard) for one in most]
        resource.setrlimit(kind, (least[0], least[1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
