"""Images a second through vision networks, forward and forward + backward, in every formulation; PyTorch beside them.

    python -m benchmarks.vision [--torch-python PATH] > benchmarks/results/vision.jsonl

Nature CNN on 84 x 84 x 4, IMPALA on 64 x 64 x 3, float32, without dense layers; the backward pass is that of the sum of
squares of the features with respect to all weights. Seconds are those of the process's own CPU time where the backend is
a CPU, so that other work on the machine counts less (`taskset -c 1` for one core); else of the wall clock. The median of
five runs counts. `…_in_scan`: the same three times over in one `lax.scan`, as an update's minibatches
are. `PATH` is a Python that has torch; without it, PyTorch is left out.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.nets import vision
from headstart.nets.vision import convolved, mixed, patched, pooled

RUNS = 5
_SCANNED = 3
CASES = {"nature": ((84, 84, 4), 128), "impala": ((64, 64, 3), 32)}
"""shape and batch"""


def nchw(x: Any, weight: Any, stride: int = 1) -> Any:
    """The convolution with channels first, as PyTorch keeps them; moved there and back."""
    x = jnp.moveaxis(x, -1, 0)[None]
    out = jax.lax.conv_general_dilated(
        x, weight, (stride, stride), "VALID", dimension_numbers=("NCHW", "HWIO", "NCHW")
    )
    return jnp.moveaxis(out[0], 0, -1)


def summed(x: Any, weight: Any, stride: int = 1) -> Any:
    """As `patched`, but a product for each slice in place of one for all."""
    k, _, i, o = weight.shape
    s, m = stride, -(-k // stride)
    u, v = ((n - k) // s + 1 for n in x.shape[:2])
    cells = x[: (u + m - 1) * s, : (v + m - 1) * s].reshape(u + m - 1, s, v + m - 1, s, i)
    cells = cells.transpose(0, 2, 1, 3, 4).reshape(u + m - 1, v + m - 1, s * s * i)
    blocks = weight.reshape(m, s, m, s, i, o).transpose(0, 2, 1, 3, 4, 5).reshape(m, m, s * s * i, o)
    return sum(cells[a : a + u, b : b + v] @ blocks[a, b] for a in range(m) for b in range(m))


def reduced(x: Any) -> Any:
    """The max-pool by XLA's own."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (3, 3, 1), (2, 2, 1), "SAME")


FORMULATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "patches, one product": (patched, pooled),
    "convolution, channels last": (convolved, pooled),
    "convolution, channels last, XLA's max-pool": (convolved, reduced),
    "convolution to act, patches to learn": (mixed, pooled),
    "slices of cells, a product each": (summed, pooled),
    "convolution, channels first": (nchw, pooled),
}


def _seconds(run: Callable[[], Any]) -> float:
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    jax.block_until_ready(run())
    taken = list[float]()
    for _ in range(RUNS):
        before = clock()
        jax.block_until_ready(run())
        taken.append(clock() - before)
    return sorted(taken)[RUNS // 2]


def measure(network: str, name: str) -> dict[str, Any]:
    """Images a second of one network in one formulation."""
    shape, batch = CASES[network]
    product, pool = FORMULATIONS[name]
    vision.formulation = lambda: product
    vision.pooled = pool
    conv = vision.Conv(jr.key(0), shape, network)
    images = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)

    def loss(conv: Any, images: Any) -> Any:
        return jnp.square(jax.vmap(conv)(images)).sum()

    programs = {"forward": loss, "both": jax.grad(loss)}
    programs |= {f"{what}_in_scan": _scanned(program) for what, program in programs.items()}
    begun = time.perf_counter()
    compiled = {what: jax.jit(program).lower(conv, images).compile() for what, program in programs.items()}
    took = time.perf_counter() - begun
    row = {"network": network, "formulation": name, "batch": batch, "compile_seconds": round(took, 1)}
    for what, program in compiled.items():
        seen = batch * (_SCANNED if what.endswith("scan") else 1)
        row[what] = round(seen / _seconds(partial(program, conv, images)))
    return row


def _scanned(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program some times over in one `lax.scan`, as an update's minibatches are."""

    def scanned(conv: Any, images: Any) -> Any:
        def one(conv: Any, _: None) -> tuple[Any, None]:
            found = program(conv, images)
            move = partial(jax.tree.map, lambda weight: weight + 0.0 * jax.tree.leaves(found)[0].sum())
            return move(conv), None

        return jax.lax.scan(one, conv, None, _SCANNED)[0]

    return scanned


TORCH = """
import json, sys, time, torch
from torch import nn
from torch.nn import functional as F
torch.set_num_threads(int(sys.argv[1]))
def block(c): return nn.ModuleList([nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)])
class Impala(nn.Module):
    def __init__(self, i=3):
        super().__init__()
        self.first, self.blocks = nn.ModuleList(), nn.ModuleList()
        for o in (16, 32, 32):
            self.first.append(nn.Conv2d(i, o, 3, padding=1))
            self.blocks.append(nn.ModuleList([block(o), block(o)]))
            i = o
    def forward(self, x):
        for first, blocks in zip(self.first, self.blocks):
            x = F.max_pool2d(first(x), 3, 2, 1)
            for one, two in blocks:
                x = x + two(F.relu(one(F.relu(x))))
        return F.relu(x)
convs = [nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3)]
nature = nn.Sequential(*(layer for conv in convs for layer in (conv, nn.ReLU())))
def run(net, x, back):
    with torch.set_grad_enabled(back):
        loss = net(x.float() / 255).square().sum()
    if back:
        net.zero_grad(); loss.backward()
for name, net, shape, batch in (("nature", nature, (4, 84, 84), 128), ("impala", Impala(), (3, 64, 64), 32)):
    for last in (False, True):
        form = torch.channels_last if last else torch.contiguous_format
        net = net.to(memory_format=form)
        x = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8).contiguous(memory_format=form)
        label = "PyTorch " + torch.__version__ + (", channels last" if last else "")
        row = {"network": name, "formulation": label, "batch": batch}
        for what, back in (("forward", False), ("both", True)):
            run(net, x, back)
            taken = []
            for _ in range(5):
                before = time.process_time(); run(net, x, back); taken.append(time.process_time() - before)
            row[what] = round(batch / sorted(taken)[2])
        print(json.dumps(row), flush=True)
"""


def _peer(python: str) -> list[dict[str, Any]]:
    threads = str(len(os.sched_getaffinity(0)))
    out = subprocess.run([python, "-c", TORCH, threads], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch-python", default="")
    parser.add_argument("--networks", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    about = {
        "command": "python -m benchmarks.vision --torch-python PATH",
        "unit": "images a second of CPU time" if jax.default_backend() == "cpu" else "images a second",
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
    }
    print(json.dumps(about), flush=True)
    peers = _peer(options.torch_python) if options.torch_python else []
    for row in peers:
        print(json.dumps({**row, "load": os.getloadavg()}), flush=True)
    for network in options.networks:
        for name in FORMULATIONS:
            if network == "nature" and FORMULATIONS[name][1] is reduced:
                continue  # it has no max-pool
            print(json.dumps({**measure(network, name), "load": os.getloadavg()}), flush=True)


if __name__ == "__main__":
    main()
