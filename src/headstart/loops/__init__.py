"""Loops bring agents and environments together: `jit` on the device, `host` around foreign simulators."""
