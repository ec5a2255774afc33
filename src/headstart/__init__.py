"""headstart: how fast does a reinforcement-learning agent learn a task it has never seen?

>>> import headstart as hs
>>> suite = hs.suite("bandit", arms=5, pulls=10)
>>> suite.name
'bandit-v0:pulls=10'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.agents import agent, configure
    from headstart.errors import BudgetSpentError, HeadstartError, RunError, UsageError
    from headstart.protocol.evaluation import evaluate
    from headstart.protocol.priors import Prior
    from headstart.protocol.training import Trained, TrainOptions, train
    from headstart.protocol.transfer import TransferOptions, transfer
    from headstart.reports.page import report
    from headstart.results import Result
    from headstart.suites import suite

_WHERE = {
    "BudgetSpentError": "errors",
    "HeadstartError": "errors",
    "Prior": "protocol.priors",
    "Result": "results",
    "RunError": "errors",
    "TrainOptions": "protocol.training",
    "Trained": "protocol.training",
    "TransferOptions": "protocol.transfer",
    "UsageError": "errors",
    "agent": "agents",
    "configure": "agents",
    "evaluate": "protocol.evaluation",
    "report": "reports.page",
    "suite": "suites",
    "train": "protocol.training",
    "transfer": "protocol.transfer",
}

__version__ = "0.1.0"

__all__ = [
    "BudgetSpentError",
    "HeadstartError",
    "Prior",
    "Result",
    "RunError",
    "TrainOptions",
    "Trained",
    "TransferOptions",
    "UsageError",
    "agent",
    "configure",
    "evaluate",
    "report",
    "suite",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `headstart --help` must not wait for JAX."""
    if name not in _WHERE:
        raise AttributeError(f"module 'headstart' has no attribute '{name}'")
    return getattr(importlib.import_module(f"headstart.{_WHERE[name]}"), name)
