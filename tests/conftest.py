"""Strict numerics for every test: warnings are errors, rank promotion raises, dtypes are not promoted,
annotations are checked at run time. `--all` adds the tests marked slow; `--keep-programs` keeps compiled programs from
run to run, which saves minutes where one tests all day. It is not the default: jaxlib 0.10.2 now and then crashes
while it writes one (in `put_executable_and_time`).

Tests compile much and compute little, so XLA's older code generator is used: it compiles in half the time what then
runs about as fast (training) or at half the speed (environments alone).
"""

import gc
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {os.environ.get('XLA_FLAGS', '')}"

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


def pytest_runtest_logfinish() -> None:
    """Forget compiled programs before they are too many.

    Each takes some memory mappings, of which Linux gives a process 65 530; jaxlib crashes where they end.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --all to run it"))
