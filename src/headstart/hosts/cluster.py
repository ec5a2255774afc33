"""A Ray cluster: how it is joined, and how lanes are stepped there.

Nothing here phones home: usage statistics are off, and a Ray of our own has no dashboard.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import socket
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, Literal, NoReturn

from headstart.errors import RunError, UsageError
from headstart.hosts.actors import Actors
from headstart.hosts.env import HostEnv
from headstart.tasks import Suite

Where = Literal["here", "ray"]
"""Who does some work: this machine, or a Ray cluster."""

_ANSWER = 5.0
"""seconds within which a head's address answers"""
_CLIENT = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""what a gRPC client says first; a server answers with a frame of settings, too (RFC 9113, section 3.4)"""
_SETTINGS = 4


@contextlib.contextmanager
def joined(address: str | None, wanted: Mapping[str, bool]) -> Generator[Any]:
    """The ray module, connected while the context is open; None where nothing is wanted of it.

    Args:
      address: of a running cluster's head, "host:port" as `ray start --head` prints it, "ray://host:port" for a Ray
        client, "auto" for the cluster this machine belongs to; None starts a Ray on this machine alone.
      wanted: options that put work on Ray, as a command line has them, and whether they are given.

    Raises:
      UsageError: if there is an address and nothing to do there, Ray is not installed, or nobody answers at the address.
      RunError: if a Ray of our own does not start.
    """
    given = [option for option, value in wanted.items() if value]
    if not given:
        if address is not None:
            raise UsageError(f"a Ray address is for work on Ray: give {' or '.join(wanted)} as well.")
        yield None
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"{given[0]} needs the extra `ray`: pip install 'headstart[ray]'.")
    with _connected(address) as ray:
        yield ray


@contextlib.contextmanager
def _connected(address: str | None) -> Generator[Any]:
    """The ray module, connected; a connection that was there before stays."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        knock(address)
    ray: Any = importlib.import_module("ray")
    if ray.is_initialized():
        yield ray
        return
    quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            os.environ.setdefault("RAY_worker_niceness", "0")  # its workers are this command's own
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever Ray raises, and how it ends a process that waited in vain
        _refuse(address, error)
    ray._private.worker._worker_logs_enabled = (
        False  # a worker's death is the asker's to tell, not for stdout
    )
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse(address: str | None, error: BaseException) -> NoReturn:
    why = " ".join(str(error).split())[:200]
    if address is None:
        raise RunError(f"Ray did not start on this machine ({why}).") from error
    raise UsageError(f"the Ray cluster at {address} cannot be joined ({why}).") from error


def knock(address: str) -> None:
    """Whether a gRPC server listens at an address, which Ray takes minutes to find out.

    Raises:
      UsageError: if it does not.
    """
    if address == "auto":
        return
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d{1,5})", address)
    if found is None or int(found[2]) > 65535:
        raise UsageError(f"a Ray address is host:port, ray://host:port or auto, not '{address}'.")
    try:
        with socket.create_connection((found[1], int(found[2])), timeout=_ANSWER) as line:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            line.sendall(_CLIENT)
            said = line.recv(9)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise UsageError(
            f"nobody answers at the Ray address {address} ({why}); give the one that `ray start --head` prints."
        ) from error
    if len(said) < 4 or said[3] != _SETTINGS:
        raise UsageError(
            f"what answers at {address} is no Ray head; give the address that `ray start --head` prints."
        )


def check_lanes(suite: Suite, where: Where, cpus: float) -> None:
    """Whether a suite's lanes can be stepped there, before Ray is asked.

    Raises:
      UsageError: if not.
    """
    if where == "here":
        return
    if not isinstance(suite.env, HostEnv):
        raise UsageError(
            f"suite {suite.name} is a compiled program on the device, which nobody else steps; --lanes-on ray is for "
            "foreign simulators."
        )
    suite.env.stepped_by(Actors(None, cpus))
    if cpus < 0 or (cpus > 1 and cpus != int(cpus)):
        raise UsageError(f"ray_cpus is a part of 1, or a whole number of cores, not {cpus:g}.")


def lanes_on(ray: Any, suite: Suite, cpus: float) -> Suite:
    """A suite whose lanes are stepped in actors of `cpus` cores each; the suite itself where `ray` is None."""
    if ray is None or not isinstance(suite.env, HostEnv):
        return suite
    return replace(suite, env=suite.env.stepped_by(Actors(ray, cpus)))
