"""Strict numerics for every test: warnings are errors, rank promotion raises, dtypes are not promoted silently,
and annotations are checked at run time."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

install_import_hook("headstart", "beartype.beartype")
