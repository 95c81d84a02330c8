"""No figure on a page is copied by hand: docs/tables.py makes every block, and the pages hold what it makes."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = _load()


@pytest.mark.parametrize("name", tables.PAGES)
def test_the_blocks_are_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.search("<!-- table: ", text)
    assert text.count("<!-- table: ") == text.count("<!-- end -->")
    assert tables.rendered(text, ROOT, chinese=".zh-" in name) == text, "run: python docs/tables.py"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_tree_lists_every_module_with_a_remark(name: str) -> None:
    block = re.search(r"<!-- table: tree -->\n(.*?)<!-- end -->", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert block
    listed = dict(tables.tree_paths(block[1]))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "backflip").rglob("*.py")}
    assert set(listed) == {path.removesuffix("__init__.py") for path in modules}
    assert all(listed.values())


def test_both_readmes_have_the_same_blocks_and_commands() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    for pattern in (r"<!-- table: \w+ -->", r"```sh\n.*?```", r"```python\n.*?```"):
        first, second = (re.findall(pattern, text, re.DOTALL) for text in (english, chinese))
        assert [re.sub(r" +# .*", "", block) for block in first] == [re.sub(r" +# .*", "", block) for block in second]


# --- with results


def _rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def _figures(judge: float, *, rate: float | None = None, bound: bool = False) -> dict[str, Any]:
    shared = None if rate is None else _rate(rate)
    return {
        "judge": {**_rate(judge), "parts": {"plain": 0.5, "ends": 1.0}},
        "win_rate_vs_base": shared,
        "win_rate_vs_sft": shared,
        "win_rate_vs_sft_same_length": None,
        "rm": 0.25,
        "kl_to_sft": 3.14,
        "kl_is_a_bound": bound,
        "tokens": 41.6,
        "eos_share": 0.9,
    }


def _summary(*, seed: int, rounds: int = 1) -> dict[str, Any]:
    return {
        "held_out_prompts": 100,
        "policies": {"base": _figures(0.5), "ppo": _figures(0.75, rate=0.8, bound=True)},
        "reward_model": {"held_out_accuracy": _rate(0.7), "pairs": 1200},
        "seconds": {"total": 840.0},
        "seed": seed,
        "rounds": rounds,
        "version": "0.1.0",
        "machine": {"cores": 2, "threads": 2, "processor": "x86_64", "python": "3.11.2", "torch": "2.13.0"},
        "answers": [
            {
                "prompt": "Explain the moon landing.",
                "answers": {"ppo": {"text": "One\n<b> | two", "ended": True}, "base": {"text": "x", "ended": False}},
            },
            {"prompt": "Explain rain.", "answers": {}},
        ],
    }


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A repository with results: three seeds, two rounds, real comparisons."""
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    for name, content in {
        "demo": _summary(seed=0),
        "demo_seed_2": _summary(seed=2),
        "demo_seed_1": _summary(seed=1),
        "demo_rounds": _summary(seed=0, rounds=2),
        "reward_hh": {
            "data": "HH",
            "train_pairs": 600,
            "held_out_pairs": 500,
            "ours": {"accuracy": _rate(0.6)},
            "trl": {"accuracy": _rate(0.55)},
        },
    }.items():
        (results / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def _block(name: str, root: Path, *, chinese: bool = False) -> str:
    made: str = tables.rendered(f"<!-- table: {name} -->\nold\n<!-- end -->", root, chinese=chinese)
    return made.removeprefix(f"<!-- table: {name} -->\n").removesuffix("\n<!-- end -->")


def test_the_demo_as_a_table(committed: Path) -> None:
    lines = _block("demo", committed).splitlines()
    assert lines[2] == "| base | 0.500 (0.400 to 0.600) | - | - | - | 0.25 | 3.1 | 42 | 90% |"
    rate = "80% (70% to 90%)"
    assert lines[3] == f"| ppo | 0.750 (0.650 to 0.850) | {rate} | {rate} | - | 0.25 | ≤ 3.1 | 42 | 90% |"
    assert lines[5:8] == ["| policy | plain | ends |", "| --- | --- | --- |", "| base | 0.50 | 1.00 |"]
    assert "100 held-out prompts" in lines[-1]
    assert "14 minutes in all" in lines[-1]  # 840 s


def test_answers_are_of_the_moon_landing_and_cannot_break_the_table(committed: Path) -> None:
    lines = _block("answers", committed).splitlines()
    assert lines[0] == "> Explain the moon landing."
    assert lines[4:] == ["| ppo | One<br>&lt;b> \\| two |", "| base | x ... |"]


def test_seeds_in_order_and_rounds_apart(committed: Path) -> None:
    rows = _block("seeds", committed).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 0", "| 1", "| 2"]
    assert rows[0].endswith("| 70.0% (60.0% to 80.0%) |")
    assert _block("rounds", committed).count("| ppo |") == 1


def test_real_comparisons(committed: Path) -> None:
    lines = _block("reward_hh", committed).splitlines()
    assert lines[2] == "| Backflip | 60.0% (50.0% to 70.0%) |"
    assert lines[3].startswith("| TRL's RewardTrainer | 55.0%")


@pytest.mark.parametrize("name", ["demo", "answers", "seeds", "rounds", "reward_hh"])
def test_what_is_not_there_is_said_not_to_be(name: str, tmp_path: Path) -> None:
    assert _block(name, tmp_path).startswith("No run is committed yet")
    assert _block(name, tmp_path, chinese=True).startswith("还没有提交运行结果")


def test_every_text_has_its_chinese(committed: Path) -> None:
    assert "对 SFT 胜率" in _block("demo", committed, chinese=True)
    assert "回答" in _block("answers", committed, chinese=True)
    assert "种子" in _block("seeds", committed, chinese=True)


def test_the_chinese_tree_keeps_its_remarks_and_takes_new_modules(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "backflip"
    (package / "lm").mkdir(parents=True)
    for name in ("__init__", "cli", "lm/__init__", "lm/new"):
        (package / f"{name}.py").write_text(f'"""About {name}.\n\nMore."""\n')
    page = "<!-- table: tree -->\n```text\nbackflip/  包\n  cli.py  命令\n```\n<!-- end -->"
    new = tables.rendered(page, tmp_path, chinese=True)
    assert dict(tables.tree_paths(new)) == {
        "backflip/": "包",
        "backflip/cli.py": "命令",
        "backflip/lm/": "About lm/__init__",
        "backflip/lm/new.py": "About lm/new",
    }
    assert tables.rendered(new, tmp_path, chinese=True) == new
