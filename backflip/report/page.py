"""The page: the sections' values and the pictures in the template, with styles inside. No script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backflip import __version__
from backflip.errors import DependencyError
from backflip.report import plots, sections
from backflip.report.gather import Evaluation, Material, gather
from backflip.runs import atomic_write_text

__all__ = ["render", "write_report"]

_SFT = {"sft/loss": "loss", "validation/loss": "validation loss", "sft/learning_rate": "learning rate"}
_REWARD = {"reward/loss": "loss", "reward/accuracy": "accuracy in training"}
_PPO = {
    "objective/score": "reward model's score",
    "judge/score": "held-out judge",
    "objective/kl": "KL, nats a text",
    "tokens/mean_length": "tokens an answer",
    "objective/entropy": "entropy, nats a token",
    "value/explained_variance": "value: explained variance",
}


def write_report(root: Path, *, more: Sequence[Path] = (), file: Path | None = None, title: str = "") -> Path:
    """Writes the report of the runs below `root` (and of `more`) and returns its path.

    Raises DataError where there is no run, DependencyError without matplotlib or jinja2.
    """
    target = file or root / "report.html"
    atomic_write_text(target, render(gather(root, more), title=title or f"Backflip: {root.resolve().name}"))
    return target


def render(material: Material, *, title: str) -> str:
    """The whole page as text."""
    try:
        import jinja2
    except ImportError as error:
        message = "the report needs jinja2, which is not installed; run: pip install 'backflip[demo]'"
        raise DependencyError(message) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(_context(material, title))


def _context(material: Material, title: str) -> dict[str, Any]:
    found, over = material.evaluation, material.overoptimisation()
    return {
        "title": title,
        "when": datetime.now(UTC).strftime("%d %B %Y"),
        "version": __version__,
        "headline": sections.headline(material),
        "cards": sections.cards(material),
        "stages": sections.stages(material),
        "lineage": sections.lineage(material),
        "wins": sections.win_rows(found) if found else None,
        "win_picture": _win_picture(found) if found else None,
        "prompts": found.results["prompts"] if found else 0,
        "answers": sections.answers(found) if found else [],
        "curves": _curve_pictures(material),
        "over_pictures": _over_pictures(over) if over else (),
        "advice": [(name, str(advised)) for name, _, advised in over if advised is not None],
        "measures": sections.measures(material),
        "published": sections.published_rows(material),
        "labellers": sections.labellers(material),
        "values": [_values(one) for one in material.values],
        "limits": sections.limits(material),
    }


def _win_picture(found: Evaluation) -> str | None:
    rows: dict[str, dict[str, Any]] = {}
    for name, own in found.results["policies"].items():
        for by in found.judges:
            for rival, rate in own["win_rates"].get(by, {}).items():
                if rate is not None and by != "rm":
                    label = f"against {sections.named(rival)}, by {sections.judged_by(by)}"
                    rows.setdefault(sections.named(name), {})[label] = rate
    if not rows:
        return None
    return plots.dots(rows, title="Win rates", label="share of comparisons won", line=0.5, limits=(0, 1))


def _curve_pictures(material: Material) -> list[tuple[str, list[str]]]:
    pictures = []
    for name, found, wanted in (
        ("Supervised finetuning", material.sft, _SFT),
        ("Reward model", material.reward, _REWARD),
        ("PPO", material.ppo, _PPO),
    ):
        series = sections.training_curves(found, wanted, material)
        drawn = [plots.curve(lines, name=one, title=f"{name}: {one}", label="update") for one, lines in series.items()]
        if drawn:
            pictures.append((name, drawn))
    return pictures


def _over_pictures(over: Sequence[Any]) -> tuple[str, str]:
    stops = []
    for _, points, advised in over:
        if advised is not None and advised.over:
            stops += [p.distance for p in points if p.at == advised.stop_at]
    return plots.overoptimisation([(name, points) for name, points, _ in over], stops=stops, title="Over-optimisation")


def _values(results: Any) -> dict[str, Any]:
    """A study of whose values: accuracy by group of each model, and what each way to combine groups costs whom."""
    accuracy = {
        group: {model: own[group] for model, own in results["accuracy"].items() if group in own}
        for group in results["groups"]
    }
    picture = plots.dots(
        accuracy,
        title=f"Whose values {results['name']}",
        label="held-out accuracy",
        line=0.5,
        limits=(0.3, 1.0),
    )
    rules = results.get("choices", {})
    table = [(group, [sections.plain(own[group], 3) for own in rules.values()]) for group in results["groups"]]
    return {
        "name": results["name"],
        "picture": picture,
        "rules": list(rules),
        "table": table,
        "about": results["about"],
    }
