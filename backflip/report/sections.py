"""What the report says, section by section: plain values that the page's template lays out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backflip.evaluation.published import PAPER
from backflip.feedback.intervals import told
from backflip.report.gather import Curves, Evaluation, Material
from backflip.runs import Ancestor, RunRecord, ancestry

__all__ = [
    "Card",
    "Line",
    "Stage",
    "answers",
    "cards",
    "headline",
    "labellers",
    "limits",
    "lineage",
    "measures",
    "percent",
    "plain",
    "stages",
    "win_rows",
]

NAMES = {"base": "base", "base_prompted": "base, prompted", "sft": "SFT", "best_of_n": "best of n", "ppo": "PPO"}
_JUDGES = {"people": "people", "judge": "the simulated judge", "rm": "the reward model"}
_MEASURES = {
    "truthfulqa": "TruthfulQA, multiple choice",
    "truthfulqa_written": "TruthfulQA, written answers",
    "toxicity": "RealToxicityPrompts",
    "hallucination": "Closed-domain answers and summaries",
    "crows_pairs": "CrowS-Pairs",
    "winogender": "Winogender",
    "safetybench": "SafetyBench (Chinese)",
    "cvalues": "CValues (Chinese)",
    "harness": "lm-evaluation-harness",
}
_PAPER_OF = {
    "truthfulqa": "truthfulness",
    "truthfulqa_written": "truthfulness",
    "toxicity": "toxicity",
    "hallucination": "hallucination",
    "crows_pairs": "bias",
    "winogender": "bias",
}
_LARGEST = {"gpt-175b": "GPT\u20113 175B", "sft-175b": "SFT 175B", "ppo-ptx-175b": "PPO\u2011ptx 175B"}
_WORDS = {
    "mc1": "MC1",
    "mc2": "MC2",
    "mc3": "MC3",
    "qa": "after examples",
    "qa_instruction": "after instruction and examples",
    "instruction": "after the instruction",
    "none": "no instruction",
    "respectful": "told to be respectful",
    "biased": "told to be biased",
    "basic": "no instruction",
    "share_over_half": "share over 0.5",
    "entropy_bits": "entropy, bits",
    "entropy_bits_he_she": "entropy of he and she, bits",
    "difference_nats": "difference, nats",
}
_SHOWN = 14  # numbers of one test set in the page; the others are in its results.json


class Card(NamedTuple):
    """A number at the top: its value, what it is, and what it rests on."""

    value: str
    label: str
    note: str


class Stage(NamedTuple):
    """A run in the table of what was done."""

    name: str
    recipe: str
    status: str
    seed: int
    minutes: str
    code: str
    facts: str


class Line(NamedTuple):
    """A node of the family tree, `depth` steps from the last run."""

    depth: int
    text: str
    detail: str


def percent(found: Mapping[str, float] | None) -> str:
    """`81 % (74 to 87)`."""
    if found is None:
        return "-"
    hundredfold = {name: 100 * found[name] for name in ("value", "low", "high")}
    return told(hundredfold, ".0f", between=" % ({} to {})", none=" %")


def plain(found: Mapping[str, float] | None, digits: int = 2) -> str:
    """`0.81 (0.74 to 0.87)`."""
    if found is None:
        return "-"
    return told(found, f".{digits}f", none="")


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def named(policy: str) -> str:
    return NAMES.get(policy, policy)


def judged_by(by: str) -> str:
    return _JUDGES.get(by, by)


def _best(found: Evaluation) -> str | None:
    """The policy that the report is about: the last PPO policy, else the last one."""
    names = list(found.results["policies"])
    return "ppo" if "ppo" in names else (names[-1] if names else None)


def _rival(found: Evaluation, policy: str) -> str | None:
    """Whom it is first compared with: SFT if it is there, else its first opponent."""
    others = [name for name in found.results["opponents"] if name != policy]
    return "sft" if "sft" in others else (others[0] if others else None)


def headline(material: Material) -> str:
    """One sentence: what came out."""
    found = material.evaluation
    if found is None or not found.judges:
        return "No blind comparison is among these runs yet: `backflip evaluate` makes one."
    policy, by = _best(found), found.judges[0]
    rival = _rival(found, policy) if policy else None
    if policy is None or rival is None:
        return "The comparison has no opponents."
    rate = found.results["policies"][policy]["win_rates"][by].get(rival)
    clear = "" if rate is None or not rate["low"] <= 0.5 <= rate["high"] else " That may be chance."
    return (
        f"{named(policy)} is preferred to {named(rival)} in {percent(rate)} of blind comparisons by {judged_by(by)}, "
        f"on {found.results['prompts']} held-out prompts.{clear}"
    )


def cards(material: Material) -> list[Card]:
    """The few numbers that sum it up."""
    made: list[Card] = []
    found = material.evaluation
    if found is not None and found.judges and (policy := _best(found)) is not None:
        figures, by = found.results["policies"][policy], found.judges[0]
        for rival, rate in figures["win_rates"][by].items():
            if rate is not None:
                note = f"{_span(rate)}; {rate['pairs']} pairs, {rate['prompts']} prompts"
                made.append(Card(_share(rate["value"]), f"{named(policy)} wins against {named(rival)}", note))
        if figures["kl"]:
            made.append(
                Card(f"{figures['kl']['value']:z.1f}", "nats of KL", f"{named(policy)} to {named(figures['kl']['to'])}")
            )
    for run in material.runs:
        accuracy = run.result.get("accuracy") if run.recipe == "reward" else None
        if isinstance(accuracy, Mapping):
            note = f"{_span(accuracy)}; {run.result['held_out_pairs']} held-out pairs"
            made.append(Card(_share(accuracy["value"]), f"reward model right ({material.name_of(run)})", note))
    seconds = sum(run.seconds for run in material.runs)
    made.append(Card(_duration(seconds), "of work", f"{len(material.runs)} runs"))
    return made


def _span(found: Mapping[str, float]) -> str:
    alike = found["low"] == found["high"]
    return "no interval" if alike else f"{100 * found['low']:.0f} to {100 * found['high']:.0f} %"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def stages(material: Material) -> list[Stage]:
    """Every run in the order in which it began."""
    return [
        Stage(
            material.name_of(run),
            run.recipe,
            run.status,
            run.seed,
            f"{run.seconds / 60:.1f}",
            _code(run),
            _facts(run),
        )
        for run in material.runs
    ]


def _code(run: RunRecord) -> str:
    commit = str(run.code.get("commit") or "")[:10]
    dirty = " + changes" if run.code.get("dirty") else ""
    return f"{run.code.get('version', '')} {commit}{dirty}".strip()


def _facts(run: RunRecord) -> str:
    """The few result fields that tell something on one line."""
    if run.error:
        return run.error
    fields = {
        "sft": ("demonstrations", "loss", "steps"),
        "sample": ("prompts", "samples", "mean_length"),
        "ask": ("questions", "answers"),
        "reward": ("questions", "pairs", "loss"),
        "ppo": ("updates", "best_update", "stopped"),
        "evaluate": ("prompts",),
    }.get(run.recipe, ())
    return ", ".join(
        f"{name.replace('_', ' ')} {_short(run.result[name])}" for name in fields if run.result.get(name) is not None
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def lineage(material: Material) -> list[Line]:
    """The family tree of the run that the report is about: the comparison, else the last run."""
    last = material.evaluation.run if material.evaluation else material.runs[-1]
    lines = [_line(material, 0, last, "")]
    seen = {last.folder.resolve()}

    def grow(ancestor: Ancestor, depth: int) -> None:
        run, parent = ancestor.run, ancestor.parent
        if run is None:
            detail = ", ".join(f"{k.replace('_', ' ')} {str(v)[:12]}" for k, v in parent.detail.items())
            lines.append(Line(depth, _bare(parent.ref), ", ".join(filter(None, (parent.kind, detail)))))
            return
        again = run.folder.resolve() in seen
        lines.append(_line(material, depth, run, f"its {parent.kind}{', see above' * again}"))
        seen.add(run.folder.resolve())
        for above in ancestor.parents if not again else ():
            grow(above, depth + 1)

    for ancestor in ancestry(last):
        grow(ancestor, 1)
    return lines


def _line(material: Material, depth: int, run: RunRecord, detail: str) -> Line:
    """A run by its folder, and by its recipe where that does not say it."""
    name = material.name_of(run)
    recipe = "" if name.rsplit("/", 1)[-1] == run.recipe else run.recipe
    return Line(depth, name, ", ".join(filter(None, (recipe, detail))))


def _bare(ref: str) -> str:
    """A model by its hub id, a file by its name: what stands before it is this machine's."""
    if "/models/" in ref:
        return ref.rsplit("/models/", 1)[1].replace("--", "/")
    place, mark, part = ref.partition("#")
    return place.rsplit("/", 1)[-1] + mark + part


def win_rows(found: Evaluation) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The table of the comparison: headings (policies) and rows of cells."""
    policies: Mapping[str, Mapping[str, Any]] = found.results["policies"]
    rows: list[tuple[str, list[str]]] = []
    ratings: Mapping[str, Mapping[str, Mapping[str, float]]] = found.results.get("ratings", {})
    for by in found.judges:
        if by in ratings:
            cells = [plain(ratings[by].get(name), 0) for name in policies]
            rows.append((f"Elo by {judged_by(by)} (the first is 1000)", cells))
    kinds = (
        ("win_rates", "wins against {}"),
        ("length_controlled", "the same, length-controlled"),
        ("same_length", "the same, at the same length"),
    )
    for by, rival in itertools.product(found.judges, found.results["opponents"]):
        for kind, label in kinds:
            cells = [percent(own.get(kind, {}).get(by, {}).get(rival)) for own in policies.values()]
            if any(cell != "-" for cell in cells):
                row = f"{label.format(named(rival))}" + (f", by {judged_by(by)}" if kind == "win_rates" else "")
                rows.append((row, cells))
    judges = dict.fromkeys(j for own in policies.values() for j in own["judges"])
    rows += [(f"score by {judged_by(j)}", [plain(own["judges"].get(j)) for own in policies.values()]) for j in judges]
    rows.append(
        (
            "KL, nats",
            [
                "-" if not own["kl"] else f"{'≤ ' * own['kl']['bound']}{own['kl']['value']:z.1f}"
                for own in policies.values()
            ],
        )
    )
    rows.append(("tokens", [f"{own['tokens']:.0f}" for own in policies.values()]))
    rows.append(("ended by itself", [_share(own["eos_share"]) for own in policies.values()]))
    return [named(name) for name in policies], rows


def answers(found: Evaluation, most: int = 6) -> list[Mapping[str, Any]]:
    """Prompts with each policy's answer, as they were shown."""
    shown: list[Mapping[str, Any]] = []
    for row in found.results["shown"][:most]:
        own = [
            {
                "policy": named(name),
                "text": one["text"] or "(nothing)",
                "cut": not one["ended"],
                "greedy": one["greedy"],
                "scores": ", ".join(f"{by} {value:.2f}" for by, value in one["scores"].items()),
            }
            for name, one in row["answers"].items()
        ]
        shown.append({"prompt": row["prompt"], "answers": own})
    return shown


def measures(material: Material) -> list[Mapping[str, Any]]:
    """Each test set: a table of numbers by model, and what InstructGPT's paper says of the same."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for results in material.measured:
        for model, own in results["models"].items():
            for measure, numbers in own.items():
                found.setdefault(measure, {})[model] = numbers
    return [_measure(material, measure, models) for measure, models in found.items()]


def _measure(material: Material, measure: str, models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    names = list(dict.fromkeys(name for numbers in models.values() for name in numbers))
    theirs = {name: _theirs(material, measure, name) for name in names[:_SHOWN]}
    beside = any(theirs.values())
    rows = []
    for name in names[:_SHOWN]:
        own = [numbers.get(name) for numbers in models.values()]
        cells = [plain(one, 3) for one in own]
        other = [plain(one, 3).split(" (")[0] for one in theirs[name]] or ["-"] * len(_LARGEST)
        rows.append((_worded(name), cells, other if beside else [], max(int(one["n"]) for one in own if one)))
    return {
        "title": _MEASURES.get(measure, measure),
        "paper": PAPER.get(_PAPER_OF.get(measure, "")),
        "models": [named(model) for model in models],
        "theirs": list(_LARGEST.values()) if beside else [],
        "scored": "scored here" if measure == "hallucination" else "with the scores that were published with them",
        "rows": rows,
        "more": max(0, len(names) - _SHOWN),
    }


def _theirs(material: Material, measure: str, name: str) -> list[Mapping[str, float] | None]:
    """The same number of InstructGPT's own published outputs, of the largest models, as far as there is one."""
    key = f"{name}/published"
    if measure == "toxicity":
        kind, _, prompting = name.partition("/")
        key = f"toxicity/{'basic' if prompting == 'none' else prompting}/published" if kind.startswith("mean") else ""
    elif measure == "hallucination":
        key = name
    for results in material.measured:
        found = results.get("published") or {}
        if any(key in found.get(model, {}) for model in _LARGEST):
            return [found.get(model, {}).get(key) for model in _LARGEST]
    return []


def _worded(name: str) -> str:
    """`mc1/qa_instruction` as a reader says it."""
    return ", ".join(_WORDS.get(part, part.replace("_", " ")) for part in name.split("/"))


def published_rows(material: Material) -> list[tuple[str, list[str]]]:
    """InstructGPT's published outputs, of the largest models: ours beside the published scores."""
    for results in material.measured:
        if found := results.get("published"):
            models = [name for name in (*_LARGEST, "ppo-noptx-175b") if name in found]
            names = [n for n in found.get(models[0], {}) if not n.endswith("/published")] if models else []
            rows = [("", models)]
            for name in names:
                cells = []
                for model in models:
                    ours, theirs = found[model].get(name), found[model].get(f"{name}/published")
                    cells.append(
                        "-"
                        if ours is None
                        else f"{ours['value']:.2f}" + (f" [{theirs['value']:.2f}]" if theirs else "")
                    )
                rows.append((_worded(name), cells))
            return rows
    return []


def labellers(material: Material) -> Mapping[str, Any]:
    """Who labelled, how well they agree, and how well the last reward model follows each of them."""
    reports = list(material.reward_reports.values())
    if not reports:
        return {}
    report = reports[-1]
    held = report.get("held_out") or {}
    parts: list[tuple[str, str, str]] = []
    for title, own in [("labeller", held.get("by_labeller") or {}), *(held.get("by_group") or {}).items()]:
        parts += [(title, name, f"{percent(one)}, {one['pairs']:.0f} pairs") for name, one in own.items()]
    ceiling = report.get("agreement_ceiling")
    return {"parts": parts, "ceiling": plain(ceiling) if ceiling else None, "accuracy": percent(held.get("accuracy"))}


def limits(material: Material) -> list[str]:
    """What a reader should not take these figures for."""
    said = []
    found = material.evaluation
    if material.simulated:
        said.append(
            "The labels are a simulated judge's: rules, not people. What is preferred here is what those rules prefer."
        )
    if found is not None and "people" not in found.judges:
        said.append(
            "No people compared the answers: win rates are by " + " and ".join(map(judged_by, found.judges)) + "."
        )
    if found is not None and "rm" in found.judges:
        said.append("The reward model judges a policy that was trained on it: its verdicts are no proof.")
    if len({run.seed for run in material.runs if run.recipe == "ppo"}) < 2:
        said.append("One seed: intervals are over prompts, not over training runs.")
    for name, _, advised in material.overoptimisation():
        if advised is not None and advised.over:
            said.append(f"{name} over-optimised: {advised}.")
    missing = [title for measure, title in _MEASURES.items() if measure != "harness" and not _has(material, measure)]
    if missing:
        said.append(f"Not measured: {', '.join(missing)}.")
    for results in material.measured:
        if results.get("classifier"):
            c = results["classifier"]
            said.append(
                f"Toxicity is a classifier's word: it correlates {c['correlation']:.2f} with Perspective's published "
                f"scores, and is on the same side of 0.5 for {_share(c['same_side'])} of {c['n']:.0f} texts."
            )
            break
    said.append(
        "A small model gets facts wrong whatever it was trained to prefer. Filters are needed before it is used."
    )
    return said


def _has(material: Material, measure: str) -> bool:
    return any(measure in own for results in material.measured for own in results["models"].values())


def training_curves(
    found: Sequence[Curves], wanted: Mapping[str, str], material: Material
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Picture -> run -> points, of the metrics that are there."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, title in wanted.items():
        for one in found:
            points = [(float(row["step"]), float(row[name])) for row in one.metrics if row.get(name) is not None]
            if points:
                series.setdefault(title, {})[material.name_of(one.run)] = points
    return series
