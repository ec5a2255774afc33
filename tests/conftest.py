"""Strict numerics for every test: warnings are errors, rank promotion raises, dtypes are not promoted,
annotations are checked at run time. `--all` adds the tests marked slow; `--keep-programs` keeps compiled programs from
run to run, which saves minutes where one tests all day. It is not the default: jaxlib 0.10.2 now and then crashes
while it writes one (in `put_executable_and_time`).
"""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

install_import_hook("headstart", "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow learning tests too")
    parser.addoption("--keep-programs", action="store_true", help="keep compiled programs between runs")


def pytest_configure(config: pytest.Config) -> None:
    """With `--keep-programs`, keep them in pytest's own cache folder (`--cache-clear` empties it)."""
    if not config.getoption("--keep-programs"):
        return
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --all to run it"))
