"""Registries are strings: `"name": "module:attribute"`, so that nothing heavy is imported until it is used."""

import importlib
from collections.abc import Mapping
from typing import Any

from headstart.errors import unknown


def resolve(kind: str, registry: Mapping[str, str], name: str) -> Any:
    """The object a registry line names.

    Raises:
      UsageError: if there is no such line, with the nearest names.
    """
    if name not in registry:
        raise unknown(kind, name, registry)
    module, attribute = registry[name].split(":")
    return getattr(importlib.import_module(module), attribute)
