"""One self-contained HTML page from results: headline, tables, figures, pictures, settings, commands."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.errors import RunError, UsageError
from headstart.reports import canvas, figures, snapshots
from headstart.reports.filmed import Film
from headstart.reports.headline import decimals, noun, number, parts, signed, span, text, verdict
from headstart.reports.summary import summary
from headstart.reports.transfer_section import section as transfer_section
from headstart.results import Result, write_text

_MIME = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


_BADGES = {"ceiling": "sees the task", "learner": "learned", "rule": ""}


def _picture(caption: str, path: Path | str) -> dict[str, str]:
    """A picture or film as a data URI."""
    path = Path(path)
    kind = _MIME.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path} is no picture a page can show; choose from: {', '.join(sorted(_MIME))}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the picture {path} cannot be read ({error.strerror}).") from None
    uri = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"caption": caption, "uri": uri, "kind": kind.partition("/")[0]}


def _row(agent: dict[str, Any], look: canvas.Look, d: int) -> dict[str, Any]:
    """One line of a group's table, as text."""
    versus = agent["versus"] or {}
    percent = [100 * v for v in versus.get("probability_interval") or () if v is not None]
    gap = versus.get("difference_interval")
    seeds = len(agent["seeds"])
    return {
        "name": agent["name"],
        "role": agent["role"],
        "variable": look.variable,
        "mean": number(agent["mean"], d),
        "se": "" if agent["se"] is None else number(agent["se"], d),
        "iqm": number(agent["iqm"], d),
        "iqm_span": span(agent["iqm_interval"], d),
        "better": f"{100 * versus['probability']:.1f} %" if versus.get("probability") is not None else "",
        "better_span": span(percent, 1) if len(percent) == 2 else "",
        "gap": signed(versus.get("difference"), d),
        "gap_span": span(gap, d),
        "verdict": verdict(gap) if agent["role"] == "learner" else "",
        "badge": ", ".join(filter(None, [_BADGES[agent["role"]], f"{seeds} seeds" if seeds > 1 else ""])),
    }


def _facts(group: dict[str, Any]) -> dict[str, Any]:
    """A table of the suite's further figures, names and a line an agent; long lists are left to `--json`."""
    names = list(dict.fromkeys(n for a in group["agents"] for n in a["facts"]))
    lines = [(a["name"], [text(a["facts"].get(n)) for n in names]) for a in group["agents"] if a["facts"]]
    kept = [i for i in range(len(names)) if all(len(values[i]) <= 90 for _, values in lines)]
    labels = [names[i].replace("_", " ") for i in kept]
    return {
        "names": labels,
        "lines": [(name, [values[i] for i in kept]) for name, values in lines] if kept else [],
    }


def _settings(agent: dict[str, Any]) -> dict[str, Any]:
    prior = agent["prior"] or {}
    about = {"seeds": agent["seeds"], "steps taken": sum(agent["spent"])}
    about |= {"lanes": agent["lanes"]} if agent.get("lanes") else {}
    about |= {"budget of steps": agent["budget"]} if agent["budget"] else {}
    about |= {f"prior: {k}": v for k, v in prior.items() if not isinstance(v, dict)}
    about |= {"prior: chosen by": agent["chosen"]["rule"]} if agent.get("chosen") else {}
    about |= {"prior: tasks": "endless"} if "tasks" in prior and prior["tasks"] is None else {}
    if len(agent["training_seeds"]) > 1:
        about["prior: seed"] = agent["training_seeds"]
    return {
        "name": agent["name"],
        "config": {k: text(v) for k, v in agent["config"].items()},
        "about": {k: text(v) for k, v in about.items()},
    }


def _section(groups: Sequence[dict[str, Any]], index: int, style: dict[str, canvas.Look]) -> dict[str, Any]:
    """Group `index` as the template wants it."""
    group = groups[index]
    d = decimals(group["agents"])
    _, options = parts(group["suite"])
    title = noun(group["suite"])
    rest = {k: v for k, v in options.items() if not (k == "arms" and "armed" in title)}
    alike = [g for g in groups if (g["suite"], g["split"]) == (group["suite"], group["split"])]
    seeds = sorted({len(a["seeds"]) for a in group["agents"]})
    return {
        "template": "group.html.j2",
        "id": f"g{index}",
        "title": title[:1].upper() + title[1:],
        "options": ", ".join(f"{v} {k}" if v.isdigit() else f"{k} {v}" for k, v in rest.items()),
        "which": f"tasks {group['fingerprint'][:6]}" if len(alike) > 1 else "",
        "suite": group["suite"],
        "split": group["split"],
        "fingerprint": group["fingerprint"],
        "only_rule": sum(a["role"] == "rule" for a in group["agents"]) == 1,
        "tasks": number(float(group["tasks"]), 0),
        "seeds": str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
        "headline": group["headline"],
        "notes": group["notes"],
        "best_rule": group["best_rule"],
        "ceiling": group["ceiling"],
        "compared": any(a["versus"] for a in group["agents"]),
        "rows": [_row(a, style[a["name"]], d) for a in group["agents"]],
        "facts": _facts(group),
        "figures": [
            *figures.drawings(group, style, f"g{index}"),
            *filter(None, [snapshots.of_training(group, style, f"g{index}-seen")]),
        ],
    }


def _emphasised(sentence: str) -> Any:
    """The first number of a headline and the agent before it, made strong; everything else escaped."""
    from markupsafe import Markup, escape

    sentence = sentence.replace(" %", "\u00a0%")
    fast = re.match(r"([^ ]+) (learns .+?) ((?:at least )?[^ ]+ times as fast)", sentence)
    found = fast or re.match(r"(.+?) (collects|scores) ([^ ]+)", sentence)
    if found is None:
        return escape(sentence)
    strong = Markup("<strong>{}</strong> {} <strong>{}</strong>").format(*found.groups())
    return strong + escape(sentence[found.end() :])


def _films(
    group: dict[str, Any], films: Sequence[Film], style: dict[str, canvas.Look]
) -> list[dict[str, Any]]:
    """The films of a group's runs, a row a run, in the order of its contenders."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for agent in group["agents"]:
        for film in films:
            run = (film.folder, film.task, film.seed)
            mine = (film.contender, film.suite) == (agent["contender"], agent["suite"])
            if not mine or film.task not in group["tasks"] or rows.get(run, {}).get("of", agent) is not agent:
                continue
            about = {
                "of": agent,
                "name": film.folder,
                "task": film.task,
                "variable": style[agent["name"]].variable,
            }
            rows.setdefault(run, about | {"films": []})["films"].append(_picture(film.caption, film.path))
    return list(rows.values())


def page(
    numbers: dict[str, Any],
    title: str,
    pictures: Mapping[str, Path | str] | None = None,
    command: str = "",
    films: Sequence[Film] = (),
) -> str:
    """The page's HTML, from what `summary` returned."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    transfers, groups = numbers["transfers"], numbers["groups"]
    style = canvas.looks([*transfers, *groups])
    sections = [transfer_section(transfers, i, style) for i in range(len(transfers))]
    sections += [_section(groups, i, style) for i in range(len(groups))]
    for about, group in zip(sections, transfers, strict=False):
        about["films"] = _films(group, films, style)
    for about, group in zip(sections, [*transfers, *groups], strict=True):
        about["settings"] = [_settings(agent) for agent in group["agents"]]
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["emphasised"] = _emphasised
    commands: list[str] = numbers["provenance"]["commands"]
    return environment.get_template("page.html.j2").render(
        title=title,
        headline=numbers["headline"],
        sections=sections,
        adapted=bool(transfers),
        evaluated=bool(groups),
        pictures=[_picture(caption, path) for caption, path in (pictures or {}).items()],
        commands=commands,
        unnamed=numbers["provenance"]["unnamed"],
        command="" if command in commands else command,
        versions=numbers["provenance"]["versions"],
        commits=numbers["provenance"]["commits"],
        palette=canvas.PALETTE,
    )


def report(
    results: Sequence[Result],
    path: Path | str,
    title: str = "Learning to learn, measured",
    pictures: Mapping[str, Path | str] | None = None,
    command: str = "",
    films: Sequence[Film] = (),
) -> Path:
    """Write one self-contained HTML page about some results.

    Args:
      results: of any suites; those on the same tasks share a table, others are kept apart.
      path: the file to write; its folder is made if need be.
      title: the page's first heading.
      pictures: caption -> picture or film (png, jpg, gif, svg, webp, mp4), embedded.
      command: what made the page, shown after the commands that the results name as their origin.
      films: of adaptation runs among the results: `reports.filmed.found(folders)`.

    Returns:
      `path`.

    Raises:
      UsageError: if there are no results, one has no scores, a picture cannot be read, or `path` is a folder.
      RunError: if the page cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the file the report is to be written to.")
    text = page(summary(results), title, pictures, command, films)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {path.parent} could not be made ({error.strerror}).") from error
    write_text(path, text)
    return path
