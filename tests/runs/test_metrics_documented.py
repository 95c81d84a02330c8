"""Every metric that a recipe names is in docs/metrics.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = r"[a-z][a-z0-9_]*(?:/[a-z0-9_@.-]+)+"  # objective/kl, val/ratio_var, time/step


def documented_metrics(path: Path) -> set[str]:
    """The names in backticks in docs/metrics.md, with `a/{b, c}` read as a/b and a/c; empty where there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    names: set[str] = set()
    for quoted in re.findall(r"`([^`\n]+)`", text):
        grouped = re.fullmatch(r"([^{}]*)\{([^{}]+)\}([^{}]*)", quoted)
        parts = [grouped[1] + p.strip() + grouped[3] for p in grouped[2].split(",")] if grouped else [quoted]
        names |= {p for p in parts if re.fullmatch(NAME, p)}
    return names


def named_metrics(source: str) -> set[str]:
    """The metric names that a recipe writes as keys: `"objective/kl": value` and `metrics["objective/kl"] = value`."""
    return set(re.findall(rf'"({NAME})"\s*:', source)) | set(re.findall(rf'\["({NAME})"\]', source))


def test_every_metric_is_documented() -> None:
    documented = documented_metrics(ROOT / "docs" / "metrics.md")
    for recipe in sorted((ROOT / "backflip" / "recipes").rglob("*.py")):
        missing = named_metrics(recipe.read_text(encoding="utf-8")) - documented
        assert not missing, f"{recipe.name} writes {sorted(missing)}, which docs/metrics.md does not define"


def test_the_check_itself_finds_names(tmp_path: Path) -> None:
    page = tmp_path / "metrics.md"
    page.write_text("| `objective/kl` | mean | and `time/{step, sample}`, `not a metric` and `plain`\n")
    assert documented_metrics(page) == {"objective/kl", "time/step", "time/sample"}
    assert documented_metrics(tmp_path / "none.md") == set()
    source = 'metrics = {"objective/kl": kl, "x": 1}\nmetrics["time/step"] = t\npath = "runs/demo"\n'
    assert named_metrics(source) == {"objective/kl", "time/step"}
