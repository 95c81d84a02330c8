"""What the pages say in figures, made from docs/results/*.json and from the code: no number is copied by hand.

    python docs/tables.py            rewrites what stands between `<!-- table: NAME -->` and `<!-- end -->`
    python docs/tables.py --check    says which pages are out of date, and changes nothing

`docs/results/NAME.json` is a file as a command wrote it. The form of demo*.json is in docs/demo.md.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from backflip.feedback.intervals import told

__all__ = ["BLOCKS", "PAGES", "Page", "main", "rendered", "tree_paths"]

ROOT = Path(__file__).resolve().parents[1]
PAGES: Final = ("README.md", "README.zh-CN.md", "docs/demo.md", "docs/log.md", "docs/safety.md")
_BLOCK = re.compile(r"(<!-- table: ([a-z_]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_MOON = "moon landing"
_SMALL = 2  # minutes below which seconds say more

_FIGURES: Final = (
    "simulated judge",
    "wins vs base",
    "wins vs SFT",
    "wins vs SFT, same length",
    "RM",
    "KL to SFT",
    "tokens",
    "ended",
)
_CIRCUMSTANCES: Final = (
    "{} held-out prompts, 95 % intervals over prompts. {}, {} threads, Python {}, torch {}; Backflip {}, seed {}; "
    "{} in all. The reward model's held-out accuracy is {}; it was trained on {} pairs."
)
_CHINESE: Final[Mapping[str, str]] = {
    "policy": "策略",
    "simulated judge": "模拟评判",
    "wins vs base": "对 base 胜率",
    "wins vs SFT": "对 SFT 胜率",
    "wins vs SFT, same length": "对 SFT 胜率（长度相近）",
    "RM": "RM",
    "KL to SFT": "到 SFT 的 KL",
    "tokens": "词元数",
    "ended": "自行结束",
    "answer": "回答",
    "seed": "种子",
    "RM accuracy": "RM 准确率",
    "No run is committed yet: there is no {}.": "还没有提交运行结果：{} 尚不存在。",
    _CIRCUMSTANCES: (
        "{} 条留出的提示，95 % 区间按提示重采样。{}，{} 线程，Python {}，torch {}；Backflip {}，种子 {}；总计 {}。"
        "奖励模型的留出准确率为 {}，训练用了 {} 对。"
    ),
    "{} cores ({})": "{} 核（{}）",
    "{:.0f} minutes": "{:.0f} 分钟",
    "{:.0f} seconds": "{:.0f} 秒",
}


class Page(NamedTuple):
    """What a block is rendered for: the repository, the language, and the block's text of now."""

    root: Path
    chinese: bool = False
    now: str = ""

    def say(self, text: str) -> str:
        """The same in the page's language."""
        return _CHINESE[text] if self.chinese else text

    def result(self, name: str) -> Any:
        """docs/results/NAME.json, or None while no run is committed."""
        path = self.root / "docs" / "results" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def missing(self, name: str) -> str:
        return self.say("No run is committed yet: there is no {}.").format(f"`docs/results/{name}.json`")


# --- the demo


def _demo(page: Page) -> str:
    found = page.result("demo")
    if found is None:
        return page.missing("demo")
    return "\n\n".join(
        (_comparison(page, found["policies"]), _parts(page, found["policies"]), _circumstances(page, found))
    )


def _comparison(page: Page, policies: Mapping[str, Any]) -> str:
    rows = [[name, *_figures(figures)] for name, figures in policies.items()]
    return _table([page.say(head) for head in ("policy", *_FIGURES)], rows)


def _figures(figures: Mapping[str, Any]) -> list[str]:
    bound = "≤ " if figures.get("kl_is_a_bound") else ""
    rates = [figures[f"win_rate_vs_{other}"] for other in ("base", "sft", "sft_same_length")]
    return [
        _interval(figures["judge"], ".3f"),
        *(_interval(rate, ".0%") for rate in rates),
        _number(figures["rm"], ".2f"),
        bound + _number(figures["kl_to_sft"], ".1f"),
        _number(figures["tokens"], ".0f"),
        _number(figures["eos_share"], ".0%"),
    ]


def _parts(page: Page, policies: Mapping[str, Any]) -> str:
    names = list(next(iter(policies.values()))["judge"]["parts"])
    rows = [[name, *(f"{figures['judge']['parts'][part]:.2f}" for part in names)] for name, figures in policies.items()]
    return _table([page.say("policy"), *names], rows)


def _circumstances(page: Page, found: Mapping[str, Any]) -> str:
    machine, total = found["machine"], found["seconds"]["total"]
    minutes = total / 60
    took = page.say("{:.0f} minutes").format(minutes) if minutes > _SMALL else page.say("{:.0f} seconds").format(total)
    return page.say(_CIRCUMSTANCES).format(
        found["held_out_prompts"],
        page.say("{} cores ({})").format(machine["cores"], machine["processor"]),
        machine["threads"],
        machine["python"],
        machine["torch"],
        found["version"],
        found["seed"],
        took,
        _interval(found["reward_model"]["held_out_accuracy"], ".1%"),
        found["reward_model"]["pairs"],
    )


def _answers(page: Page) -> str:
    found = page.result("demo")
    if found is None:
        return page.missing("demo")
    shown = [row for row in found["answers"] if _MOON in row["prompt"]]
    return "\n\n".join(f"> {row['prompt']}\n\n{_side_by_side(page, row['answers'])}" for row in shown)


def _side_by_side(page: Page, answers: Mapping[str, Any]) -> str:
    rows = [[name, _cell(one["text"]) + ("" if one["ended"] else " ...")] for name, one in answers.items()]
    return _table([page.say("policy"), page.say("answer")], rows)


def _seeds(page: Page) -> str:
    """PPO of every committed run of one round, by seed."""
    runs = [run for run in _runs(page) if run["rounds"] == 1]
    if not runs:
        return page.missing("demo")
    heads = ("seed", *_FIGURES, "RM accuracy")
    rows = [
        [
            str(run["seed"]),
            *_figures(run["policies"]["ppo"]),
            _interval(run["reward_model"]["held_out_accuracy"], ".1%"),
        ]
        for run in runs
    ]
    return _table([page.say(head) for head in heads], rows)


def _rounds(page: Page) -> str:
    """The comparison of every committed run of several rounds."""
    runs = [run for run in _runs(page) if run["rounds"] > 1]
    return "\n\n".join(_comparison(page, run["policies"]) for run in runs) if runs else page.missing("demo_rounds")


def _runs(page: Page) -> list[Any]:
    found = [page.result(path.stem) for path in sorted((page.root / "docs" / "results").glob("demo*.json"))]
    return sorted((run for run in found if "policies" in run), key=lambda run: int(run["seed"]))


def _reward_hh(page: Page) -> str:
    found = page.result("reward_hh")
    if found is None:
        return page.missing("reward_hh")
    rows = [
        [name, _interval(found[side]["accuracy"], ".1%")]
        for name, side in (("Backflip", "ours"), ("TRL's RewardTrainer", "trl"))
        if found.get(side)
    ]
    context = f"{found['data']}: {found['train_pairs']} training pairs, {found['held_out_pairs']} held out."
    return f"{_table(['', 'held-out accuracy'], rows)}\n\n{context}"


# --- what to ask, and how


def _selection(page: Page) -> str:
    """Labels that each method needs to reach what random choice reaches with so many."""
    found = page.result("selection")
    if found is None:
        return page.missing("selection")
    methods = found["settings"]["methods"]
    rows = [
        [
            f"{name} ({data['questions']} questions)",
            f"{target['accuracy']:.1%} ({target['random_labels']})",
            *(_reached(target["labels"][m]) for m in methods),
        ]
        for name, data in found["data"].items()
        for target in data["targets"]
    ]
    return _table(["questions", "accuracy (random's labels)", *methods], rows)


def _selection_gain(page: Page) -> str:
    """The mean gain in held-out accuracy over random choice, over the whole curve."""
    found = page.result("selection")
    if found is None:
        return page.missing("selection")
    methods = [m for m in found["settings"]["methods"] if m != "random"]
    rows = [
        [f"{name} ({data['kind']})", *(_interval(data["methods"][m]["gain_over_random"], "+.1%") for m in methods)]
        for name, data in found["data"].items()
    ]
    return _table(["questions", *methods], rows)


def _rank_or_rate(page: Page) -> str:
    found = page.result("rank_or_rate")
    if found is None:
        return page.missing("rank_or_rate")
    middle = len(found["budgets"]) // 2
    arms = ("rank", "rate", "normalised", "compared")
    rows = [
        [
            name,
            *(_interval(of["accuracy"][arm][middle], ".1%") for arm in arms),
            *(_reached(of["questions_to_match"][arm]) for arm in arms[1:]),
        ]
        for name, of in found["conditions"].items()
    ]
    heads = ["raters", *arms, *(f"{arm}: questions to match" for arm in arms[1:])]
    return _table(heads, rows)


def _reached(found: Mapping[str, float | None]) -> str:
    value, low, high = ("never" if found[name] is None else f"{found[name]:.0f}" for name in ("value", "low", "high"))
    return value if value == low == high else f"{value} ({low} to {high})"


# --- the safety filter


def _moderation(page: Page) -> str:
    """AUPRC and recall a category; beside others; over-refusal and evasion."""
    found = page.result("moderation")
    if found is None:
        return page.missing("moderation")
    values = found["values"]

    def cells(name: str) -> list[str]:
        return [_interval(values[f"{name} {figure}"], ".2f") for figure in ("AUPRC", "recall")]

    named = [name.removesuffix(" AUPRC") for name in values if name.endswith(" AUPRC")]
    apart = _table(
        ["texts of OpenAI's moderation set", "AUPRC", "found at 5 % false alarms", "positive, labelled"],
        [[n, *cells(n), f"{values[f'{n} AUPRC']['positives']}, {values[f'{n} AUPRC']['n']}"] for n in named],
    )
    shares = [[name, _interval(v, ".1%"), str(v["n"])] for name, v in values.items() if "positives" not in v]
    return "\n\n".join((apart, _table(["", "share", "of"], shares)))


_LEARNED_FROM: Final = {
    "hand_written": "hand-written reward",
    "random": "nothing (random policy)",
    "teacher_score": "teacher's exact score",
}


def _backflip(page: Page) -> str:
    """Medians over the seeds that have ended, and the range of the clean flips."""
    found = page.result("backflip")
    if found is None or not found["runs"]:
        return page.missing("backflip")
    kinds: dict[tuple[str, int], list[Any]] = {}
    for row in found["runs"]:
        kinds.setdefault((row["reward"], row["answers"]), []).append(row)
    rows = []
    for (reward, answers), runs in sorted(kinds.items(), key=lambda kind: (kind[0][0], -kind[0][1])):
        flips = sorted(run["clean_flips_per_1000_steps"] for run in runs)
        middle = [
            median(run[name] for run in runs)
            for name in ("net_turns", "body_floor_share", "upright_landings", "seconds")
        ]
        name = f"{answers} answers, 10 % wrong" if reward == "answers" else _LEARNED_FROM[reward]
        spread = f"{median(flips):.1f} ({flips[0]:.1f} to {flips[-1]:.1f})"
        rows.append(
            [
                name,
                str(len(runs)),
                spread,
                f"{middle[0]:.1f}",
                f"{middle[1]:.0%}",
                f"{middle[2]:.1f}",
                f"{middle[3]:.0f}",
            ]
        )
    heads = [
        "learned from",
        "seeds",
        "clean flips: median (range)",
        "net turns",
        "body on floor",
        "upright landings",
        "seconds of a core",
    ]
    steps = max(run["steps"] for run in found["runs"])
    return f"{_table(heads, rows)}\n\n{found['about']}; {steps:,} training steps each. Medians over seeds."


# --- the demo's settings

# (field of the loop's configuration, InstructGPT's value, why the demo's differs)
_SETTINGS: Final = (
    ("sft.lora_rank", "all weights", "a few seconds an update, and the frozen model stays at hand as the reference"),
    ("sft.lora_layers", "all", "the lower layers are computed once and not trained"),
    ("sft.limit", "13k", "demonstrations of the 301 that ship: what time allows"),
    ("sft.epochs", "16, or 2 before PPO", "light: what SFT learns, PPO cannot show"),
    ("sft.batch", "32", "more updates from a few hundred demonstrations"),
    ("sft.learning_rate", "9.65e-6", "LoRA wants more, and there are few updates"),
    ("sft.dropout", "0.2", "one pass over the texts does not overfit"),
    ("sample.samples", "4 to 9", "the fewest of the paper"),
    ("sample.limit", "33k", "prompts: what time allows; a reward model needs many more than it needs samples"),
    ("sample.max_tokens", "", "a few sentences; what is longer is cut off and recorded as not ended"),
    ("reward.layers", "all of a smaller model", "of 30: fast to train and to ask"),
    ("reward.epochs", "1", "few rankings; watch the held-out accuracy"),
    ("reward.batch", "64", "more updates from few questions"),
    ("reward.learning_rate", "9e-6", "LoRA"),
    ("ppo.updates", "500", "with the batch: all the episodes that there are"),
    ("ppo.batch", "512", "sampling is what costs"),
    ("ppo.samples", "1", "a prompt is computed once for all its answers"),
    ("ppo.minibatch", "64", "the answers to one prompt: six small steps an update, or nothing moves in so few"),
    ("ppo.rates.policy", "9e-6", "LoRA, and a hundredth of the steps"),
    (
        "ppo.scores.no_eos",
        "",
        "of an answer that was cut off (A: -1); below what others get from this reward model, or PPO learns not to end",
    ),
    (
        "ppo.value.zero_head",
        "",
        "a reward model's word on half a text is worse than a constant: its trunk alone is kept",
    ),
    ("ppo.rates.value", "9e-6", "lower than the policy's: with 24 episodes an update a fast one chases noise"),
    ("ppo.rates.warmup", "10", "updates: there are none to spare"),
    ("ppo.ema", "0.992", "0: the last weights. In so few steps an average has hardly left the start"),
    ("ppo.kl.beta", "0.02", "nats to reward"),
    ("ppo.judge.every", "", "updates: a held-out judge chooses the policy on validation prompts, SFT's included"),
)


def _settings(_: Page) -> str:
    """The demo's values as the code has them."""
    from backflip.demo.settings import loop_at

    loop = loop_at("demo")
    rows = [[f"`{name}`", f"{attrgetter(name)(loop):g}", paper or "-", why] for name, paper, why in _SETTINGS]
    return _table(["setting", "demo", "InstructGPT", "why"], rows)


def _weights(_: Page) -> str:
    """The weights of the simulated judge's parts."""
    from backflip.lm.judge import JudgeWeights

    rows = [[f"`{name}`", f"{weight:g}"] for name, weight in asdict(JudgeWeights()).items()]
    return _table(["part", "weight"], rows)


# --- the tree


def _tree(page: Page) -> str:
    """One line a module: its docstring's first line; on the Chinese page the line that stands there, if one does."""
    known = dict(tree_paths(page.now)) if page.chinese else {}
    return f"```text\n{''.join(_tree_lines(page.root, known))}```"


def tree_paths(block: str) -> Iterator[tuple[str, str]]:
    """(path, remark) of every line of a tree, folders with a slash at their end."""
    above: list[str] = []
    for line in block.splitlines():
        if found := re.fullmatch(r"((?:  )*)([\w.]+/?)(?:\s+(.*))?", line):
            depth = len(found[1]) // 2
            above = [*above[:depth], found[2]]
            yield "".join(above), found[3] or ""


def _tree_lines(root: Path, known: Mapping[str, str]) -> Iterator[str]:
    for path in _modules(root):
        folder = path.name == "__init__.py"
        place = (path.parent if folder else path).relative_to(root)
        name = f"{place.as_posix()}/" if folder else place.as_posix()
        shown = "  " * (len(place.parts) - 1) + place.name + "/" * folder
        yield f"{shown:<28}{known.get(name) or _summary(path)}".rstrip() + "\n"


def _modules(root: Path) -> list[Path]:
    """Floor by floor, the highest first, as pyproject.toml has them; within a floor by name, files before folders."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = [name for layer in contracts[0]["layers"] for name in re.findall(r"\w+", layer)]
    package = root / "backflip"

    def place(path: Path) -> tuple[Any, ...]:
        parts = path.relative_to(package).with_suffix("").parts
        floor = floors.index(parts[0]) if parts[0] in floors else -1
        folders = tuple((1, part) for part in parts[1:-1])
        return floor, *folders, (0, "" if parts[-1] == "__init__" else parts[-1])

    return sorted(package.rglob("*.py"), key=place)


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


# --- cells


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _interval(found: Mapping[str, float] | None, form: str) -> str:
    return "-" if found is None else told(found, form)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:z{form}}"


def _cell(text: str) -> str:
    safe = text.strip().replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return re.sub(r"\s*\n\s*", "<br>", safe)


# --- pages

BLOCKS: Final[Mapping[str, Callable[[Page], str]]] = {
    "demo": _demo,
    "answers": _answers,
    "seeds": _seeds,
    "rounds": _rounds,
    "reward_hh": _reward_hh,
    "selection": _selection,
    "selection_gain": _selection_gain,
    "rank_or_rate": _rank_or_rate,
    "moderation": _moderation,
    "backflip": _backflip,
    "settings": _settings,
    "weights": _weights,
    "tree": _tree,
}


def rendered(text: str, root: Path, *, chinese: bool = False) -> str:
    """The page with every block made anew. Raises KeyError at a block of another name."""

    def block(match: re.Match[str]) -> str:
        content = BLOCKS[match[2]](Page(root, chinese, match[3]))
        return f"{match[1]}{content}\n{match[4]}"

    return _BLOCK.sub(block, text)


def main(words: Sequence[str]) -> int:
    """Rewrites the pages; with --check 1 is returned if one is out of date."""
    stale = []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if (new := rendered(text, ROOT, chinese=".zh-" in name)) != text:
            stale.append(name)
            if "--check" not in words:
                path.write_text(new, encoding="utf-8")
    print(f"out of date: {', '.join(stale)}" if stale else "all tables are up to date")
    return int(bool(stale) and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
