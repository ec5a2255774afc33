"""Films that stored results tell of (`reports.films` makes them), as a report shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart import results
from headstart.reports.headline import number


@dataclass(frozen=True)
class Film:
    """A stored film and what it shows."""

    contender: str
    suite: str
    task: str
    seed: int
    when: str
    """before, during or after adaptation; throughout, of a contender that does not change"""
    steps: int
    """of the budget spent until then; of a learner in context, episodes before this one"""
    total: float
    """return"""
    speed: int
    """times its own speed it is shown at"""
    whole: bool
    """whether it goes on to the episode's end"""
    in_context: bool
    path: Path
    folder: str = ""
    """of the run, which tells variants of a contender apart"""

    @property
    def caption(self) -> str:
        """What a reader is told of it."""
        count = number(float(self.steps), 0)
        match self.when:
            case _ if self.in_context:
                said = f"Episode {self.steps + 1} of a trial"
            case "before":
                said = "Before"
            case "during":
                said = f"After {count} steps"
            case "after":
                said = f"In the end, after {count} steps"
            case _:
                said = "Its weights never change"
        speed = f", {self.speed} times as fast" if self.speed > 1 else ""
        cut = "" if self.whole else ", its beginning"
        return f"{said}; return {number(self.total, 0 if abs(self.total) >= 100 else 1)}{speed}{cut}"


def found(paths: Sequence[Path]) -> list[Film]:
    """The films that stored results under these files or folders tell of, and that are there."""
    files = [
        file for path in paths for file in (sorted(path.rglob("*.result.json")) if path.is_dir() else [path])
    ]
    films: list[Film] = []
    for file in files:
        for r in results.load_all(file):
            for about in r.facts.get("films", ()):
                path = file.with_name(Path(about["file"]).name)
                if path.is_file():
                    in_context = bool(r.facts["frozen"]) and about["when"] != "throughout"
                    what = (about["when"], about["steps"], about["return"], about["speed"], about["whole"])
                    who = (r.agent, r.suite, str(r.facts["task"]), r.seed)
                    films.append(Film(*who, *what, in_context, path, file.parent.name))
    return films


__all__ = ["Film", "found"]
