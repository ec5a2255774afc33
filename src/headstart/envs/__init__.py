"""Pure JAX environments, one a file; `Trial` and other wrappers; `lanes`: batching and the only auto-reset."""
