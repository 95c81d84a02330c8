"""The report of a small made-up loop: what it says, that it stands by itself, and what it leaves out by name."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from backflip.errors import DataError
from backflip.report.command import Config, run
from backflip.runs import Parent, open_run


@dataclass(frozen=True)
class Settings:
    """A configuration."""

    kl_to: str = "sft"


def _rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "pairs": 80, "prompts": 20}


def _policy(name: str, value: float) -> dict[str, Any]:
    rates = {} if name == "sft" else {"sft": _rate(value)}
    return {
        "model": name,
        "judges": {"judge": {"value": value, "low": value - 0.1, "high": value + 0.1, "parts": {}}},
        "rm": value,
        "kl": {"value": 4.0, "low": 3.0, "high": 5.0, "to": "sft", "bound": False},
        "tokens": 30.0,
        "eos_share": 0.9,
        "win_rates": {"judge": rates},
        "same_length": {"judge": rates},
        "length_controlled": {"judge": rates},
        "greedy": None,
    }


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """SFT, simulated answers, a reward model, PPO that over-optimises, a comparison, measurements."""
    root = tmp_path / "loop"
    with open_run(root / "sft", recipe="sft", config=Settings(), seed=0) as sft:
        for step in (1, 2):
            sft.metrics.write(step, {"sft/loss": 3.0 - step})
        sft.finish({"demonstrations": 7, "loss": 1.0, "steps": 2})
    with open_run(root / "ask", recipe="ask", config=Settings(), seed=0) as ask:
        ask.finish({"simulated": True, "questions": 4, "answers": 4})
    made = [Parent("run", str(root / "sft"))]
    with open_run(root / "reward", recipe="reward", config=Settings(), seed=0, parents=made) as reward:
        reward.finish({"accuracy": _rate(0.75), "held_out_pairs": 60, "questions": 4, "pairs": 60, "loss": 0.5})
    held = {"accuracy": _rate(0.75), "by_labeller": {"ann": _rate(0.7)}, "by_group": {"aim": {"helpful": _rate(0.8)}}}
    (root / "reward/reports").mkdir()
    (root / "reward/reports/reward.json").write_text(json.dumps({"held_out": held, "agreement_ceiling": _rate(0.8)}))
    with open_run(
        root / "ppo", recipe="ppo", config=Settings(), seed=0, parents=[Parent("run", str(root / "reward"))]
    ) as ppo:
        for step, judge in enumerate((0.5, 0.9, 0.3)):
            row = {"judge/score": judge} | (
                {"objective/kl": 4.0 * step, "objective/score": float(step)} if step else {}
            )
            ppo.metrics.write(step, row)
        ppo.finish({"updates": 2, "best_update": 1, "stopped": "finished"})
    results = {
        "prompts": 20,
        "opponents": ["sft"],
        "policies": {"sft": _policy("sft", 0.5), "ppo": _policy("ppo", 0.8)},
        "shown": [
            {
                "prompt": "Why <b>rain</b>?",
                "answers": {
                    "ppo": {
                        "text": "<script>alert(1)</script>",
                        "ended": False,
                        "greedy": True,
                        "scores": {"judge": 0.5},
                    }
                },
            }
        ],
        "ratings": {
            "judge": {
                "sft": {"value": 1000, "low": 1000, "high": 1000, "n": 20},
                "ppo": {"value": 1240, "low": 1200, "high": 1290, "n": 20},
            }
        },
    }
    with open_run(
        root / "evaluate", recipe="evaluate", config=Settings(), seed=0, parents=[Parent("run", str(root / "ppo"))]
    ) as evaluate:
        (root / "evaluate/results.json").write_text(json.dumps(results))
        scores = {"sft": {"rm": [[0.1, 0.4, 0.2]], "judge": [[0.3, 0.6, 0.1]]}}
        (root / "evaluate/scores.json").write_text(json.dumps(scores))
        evaluate.finish({"prompts": 20})
    with open_run(tmp_path / "measure", recipe="measure", config=Settings(), seed=0) as measure:
        number = {"value": 0.31, "low": 0.28, "high": 0.34, "n": 817}
        written = {"true/qa": number, "informative/qa": number | {"low": 0.31, "high": 0.31}}
        theirs = {"gpt-175b": {"true/qa/published": {"value": 0.239, "low": 0.2, "high": 0.3, "n": 100}}}
        own = {"truthfulqa": {"mc1/qa": number}, "truthfulqa_written": written}
        found = {"models": {"ppo": own}, "published": theirs, "classifier": None}
        (tmp_path / "measure/results.json").write_text(json.dumps(found))
        measure.finish({})
    return root


class _Parts(HTMLParser):
    """What a page would fetch, and its tags that are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset") and v and not v.startswith("#")]


def test_it_says_what_came_out_and_stands_by_itself(loop: Path, tmp_path: Path) -> None:
    said = run(Config(loop, more=(tmp_path / "measure",), title="A loop"))
    raw = (loop / "report.html").read_text(encoding="utf-8")
    page = html.unescape(raw)
    assert said.endswith("report.html")
    assert "PPO is preferred to SFT in 80 % (75 to 85) of blind comparisons by the simulated judge" in page
    assert "1240 <small>(1200 to 1290)</small>" in page
    assert "stop at update 1" in page, "the judge fell from 0.9 to 0.3 while the score rose"
    assert "best of n (sft)" in page
    assert "0.310 <small>(0.280 to 0.340)</small>" in page
    assert "true and informative about twice as often" in page, "the paper's figure stands beside it"
    assert re.search(r"true, after examples</th>.*0\.310 .*>0\.239<", page), "and the published score in its row"
    assert re.search(r"informative, after examples</th><td class=\"number\">0\.310</td>", page), (
        "no interval, none said"
    )
    assert "That may be chance" not in page, "0.75 to 0.85 is clear of a half"
    assert "0.80 (0.75 to 0.85) is the most that any model can reach" in page
    assert "simulated judge's: rules, not people" in page
    assert re.search(r"Not measured:.*CrowS-Pairs", page)
    assert "&lt;script&gt;alert(1)" in raw
    assert "Why &lt;b&gt;rain&lt;/b&gt;?" in raw
    parts = _Parts()
    parts.feed(raw)
    assert parts.fetched == []
    assert "script" not in parts.tags
    assert parts.tags.count("svg") == 7  # win rates, SFT's loss, three of PPO's curves, over-optimisation twice
    ids = re.findall(r'\bid="([^"]+)"', raw)
    assert len(set(ids)) == len(ids), "pictures must not share ids"
    assert {link.removeprefix("#") for link in re.findall(r'href="(#[^"]+)"', raw)} <= set(ids)


def test_one_run_alone_is_reported_too(loop: Path) -> None:
    run(Config(loop / "sft", file=loop / "one.html"))
    page = (loop / "one.html").read_text(encoding="utf-8")
    assert "No blind comparison is among these runs yet" in page
    assert "demonstrations 7" in page


def test_a_study_of_values(loop: Path, tmp_path: Path) -> None:
    own = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 50}
    results = {
        "name": "hh",
        "about": "Two aims.",
        "groups": {"helpful": 50, "harmless": 50},
        "accuracy": {m: {"helpful": own, "harmless": own, "all": own} for m in ("pooled", "heads")},
        "choices": {"worst": {"helpful": own, "harmless": own, "all": own}},
    }
    with open_run(tmp_path / "values", recipe="values", config=Settings(), seed=0) as values:
        (tmp_path / "values/results.json").write_text(json.dumps(results))
        values.finish({})
    run(Config(loop, more=(tmp_path / "values",)))
    page = (loop / "report.html").read_text(encoding="utf-8")
    assert "Two aims." in page
    assert "0.600 <small>(0.500 to 0.700)</small>" in page


def test_a_folder_without_runs_is_refused(tmp_path: Path, loop: Path) -> None:
    with pytest.raises(DataError, match="no run in"):
        run(Config(tmp_path / "loop/ask/nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="to report as well"):
        run(Config(loop, more=(tmp_path / "empty",)))
