"""Any suite as a Gymnasium environment: one environment, then many lanes of it at once.

Libraries that train on Gymnasium (Stable-Baselines3, CleanRL, ...) train on headstart's tasks this way.
"""

import os

import gymnasium
import numpy as np

import headstart.gym  # noqa: F401  (registers "headstart/...")

SMOKE = bool(os.environ.get("HEADSTART_SMOKE"))

# One environment: every episode is a cart-pole with other physics, drawn from 100 training tasks.
env = gymnasium.make("headstart/cartpole-v0", split="train", size=100)
for episode in range(2 if SMOKE else 10):
    obs, info = env.reset(seed=episode)
    score, ended = 0.0, False
    while not ended:
        x, x_dot, theta, theta_dot = obs
        obs, reward, terminated, truncated, info = env.step(int(theta + 0.2 * theta_dot > 0))
        score, ended = score + reward, terminated or truncated
    print(f"task {info['task']:3d}: {score:3.0f} steps")

# Many at once, on tasks no training split holds: one compiled program steps and resets all lanes.
envs = gymnasium.make_vec("headstart/cartpole-v0", num_envs=8 if SMOKE else 256, split="test")
obs, info = envs.reset(seed=0)
ends = 0
for _ in range(20 if SMOKE else 500):
    obs, reward, terminated, truncated, info = envs.step((obs[:, 2] + 0.2 * obs[:, 3] > 0).astype(np.int64))
    ends += int((terminated | truncated).sum())
print(f"{envs.num_envs} lanes: {ends} episodes ended")
