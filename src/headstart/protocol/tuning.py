"""What may be done beyond carrying on when a prior is fine-tuned on a test task; everything is off by default."""

from dataclasses import dataclass
from typing import Any

from headstart.agents.fine_tuning import Aids
from headstart.errors import UsageError


@dataclass(frozen=True)
class Tuning:
    """Aids to fine-tuning, one switch each; shares are of the budget of a test task."""

    kickstart: float = 0.0
    """weight of KL(prior || policy) in the loss at first, in units of the loss a nat; falls linearly to nothing"""
    kickstart_share: float = 0.25
    """share of the budget over which that weight falls"""
    fresh_heads: bool = False
    """whether the last layers of actor and critic begin anew"""
    warm_up: float = 0.0
    """share of the budget over which the step size rises linearly from nothing"""
    tries: int = 1
    """priors of joint training that are tried on the test task first, the best kept; 1 takes the chosen one untried"""
    try_share: float = 0.04
    """share of the budget that each of them plays for that, weights untouched"""

    def __post_init__(self) -> None:
        if self.kickstart < 0:
            raise UsageError(f"kickstart is a weight of at least 0, not {self.kickstart}.")
        for name in ("kickstart_share", "warm_up", "try_share"):
            least = "at least 0" if name == "warm_up" else "more than 0"
            if not (0 <= (share := getattr(self, name)) <= 1 and (share or name == "warm_up")):
                raise UsageError(f"{name} is a share of the budget, {least} and at most 1, not {share}.")
        if self.tries < 1:
            raise UsageError(f"tries is at least 1, not {self.tries}.")
        if self.tries > 1 and self.tries * self.try_share >= 1:
            raise UsageError(
                f"{self.tries} tries of {self.try_share} of the budget each leave nothing to learn in; try fewer priors or "
                "less of each."
            )

    @property
    def facts(self) -> dict[str, Any]:
        """The switches that are on, as a result tells them; empty if none is."""
        found: dict[str, Any] = {}
        if self.kickstart:
            found |= {"kickstart": self.kickstart, "kickstart_share": self.kickstart_share}
        if self.fresh_heads:
            found["fresh_heads"] = True
        if self.warm_up:
            found["warm_up"] = self.warm_up
        if self.tries > 1:
            found |= {"tries": self.tries, "try_share": self.try_share}
        return found

    def aids(self, budget: int) -> Aids | None:
        """What of it the learner has to know, in steps; None if nothing."""
        if not (self.kickstart or self.fresh_heads or self.warm_up):
            return None
        falls, rises = (max(1, round(share * budget)) for share in (self.kickstart_share, self.warm_up))
        return Aids(self.kickstart, falls, rises if self.warm_up else 0, self.fresh_heads)


__all__ = ["Tuning"]
