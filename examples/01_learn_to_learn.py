"""An agent that learns to learn: train RL² on two-armed bandits, then play bandits it has never seen."""

import os

import headstart as hs

smoke = "HEADSTART_SMOKE" in os.environ
suite = "bandit:arms=2,pulls=20"

trained = hs.train(
    suite=suite, agent="rl2", steps=60_000 if smoke else 2_000_000, lanes=64, chunks=5, watch=print
)
for result in hs.evaluate(suite, ["random", "ucb1", trained.prior, "best-arm"], tasks=1000):
    print(f"{result.agent:>10}  {sum(result.scores) / len(result.scores):6.2f} of 20 pulls rewarded")
