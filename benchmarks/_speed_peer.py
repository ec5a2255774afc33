"""The peers of the speed benchmark, for a Python that has them: rejax 0.1 with gymnax 0.0 (dependency group `bench`).

    python benchmarks/_speed_peer.py CASE [--tiny]

Speaks like `_speed_worker`, and imports nothing of headstart.
"""

import argparse
import json
import sys
import time
from importlib.metadata import version


def ppo_cartpole(updates, lanes=16, unroll=128):
    """rejax's PPO with the settings of ours; its evaluation episodes are left out."""
    import jax
    import jax.numpy as jnp
    import rejax

    steps = updates * lanes * unroll
    algo = rejax.get_algo("ppo").create(
        env="CartPole-v1",
        num_envs=lanes,
        num_steps=unroll,
        num_epochs=4,
        num_minibatches=4,
        agent_kwargs={"hidden_layer_sizes": (64, 64), "activation": "tanh"},
        learning_rate=2.5e-4,
        max_grad_norm=0.5,
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
    )
    algo = algo.replace(eval_callback=lambda *_: jnp.float32(0.0))
    held = [jax.jit(algo.init_state)(jax.random.PRNGKey(0))]
    start = time.perf_counter()
    train = jax.jit(lambda algo, ts: algo.train(train_state=ts)).lower(algo, held[0]).compile()
    seconds = time.perf_counter() - start

    def run():
        held[0], _ = train(algo, held[0])
        return held[0]

    return run, steps, seconds


def play(name, lanes, steps):
    """gymnax's own environment and auto-reset under a random agent."""
    import gymnax
    import jax
    import jax.numpy as jnp

    env, params = gymnax.make(name)
    space = env.action_space(params)

    def go(state, key):
        def one(carry, key):
            state, seen = carry
            k_act, k_env = jax.random.split(key)
            action = jax.vmap(space.sample)(jax.random.split(k_act, lanes))
            obs, state, reward, end, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                jax.random.split(k_env, lanes), state, action, params
            )
            return (state, seen + obs.astype(jnp.float32).sum() + reward.sum() + end.sum()), None

        return jax.lax.scan(one, (state, jnp.float32(0.0)), jax.random.split(key, steps))[0]

    keys = jax.random.split(jax.random.PRNGKey(0), lanes)
    _, state = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, params)
    key = jax.random.PRNGKey(1)
    start = time.perf_counter()
    compiled = jax.jit(go).lower(state, key).compile()
    return lambda: compiled(state, key), lanes * steps, time.perf_counter() - start


CASES = {
    "ppo-cartpole": ("rejax", lambda tiny: ppo_cartpole(2 if tiny else 50)),
    "env-bandit": ("gymnax", lambda tiny: play("BernoulliBandit-misc", *((4, 3) if tiny else (4096, 1000)))),
    "env-cartpole": ("gymnax", lambda tiny: play("CartPole-v1", *((4, 3) if tiny else (4096, 1000)))),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    args = parser.parse_args()
    package, build = CASES[args.case]
    import jax

    run, steps, seconds = build(args.tiny)
    jax.block_until_ready(run())
    ready = {"peer": f"{package} {version(package)}", "steps": steps, "compile_seconds": {package: seconds}}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        jax.block_until_ready(run())
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
