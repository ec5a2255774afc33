"""Compare textbook rules on fresh test tasks and write the report: one self-contained HTML page."""

import os
from pathlib import Path

import headstart as hs

smoke = "HEADSTART_SMOKE" in os.environ
rules = ["random", "epsilon-greedy", "ucb1", "thompson", "best-arm"]
found = hs.evaluate("bandit:arms=5,pulls=50", rules, tasks=200 if smoke else 5000, task_seed=7)
print("report:", hs.report(found, Path("report.html")))
