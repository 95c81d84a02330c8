"""Evaluation: figures by hand from the answers on disk, best-of-n without peeking, people, and resuming."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from backflip import config as configs
from backflip.errors import CheckpointError, ConfigError, DataError, LabellingPaused, ModelError
from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.lm.rewards import PythonReward
from backflip.lm.tokens import Tokens
from backflip.recipes import evaluate
from backflip.recipes.evaluate import Policy, parse_policy
from backflip.records import Answer, Labeller, Message, Prompt
from backflip.runs import read_run

PROMPTS = [Prompt.ask(f"What is {topic}?") for topic in ("rain", "snow", "bees", "bread", "sleep")]
Configure = Callable[..., evaluate.Config]


def vowels(prompt: Prompt, text: str, ended: bool) -> float:
    """A judge that likes vowels; looked up by its name."""
    return sum(c in "aeiou" for c in text) + 0.5 * ended


def consonants(prompt: Prompt, text: str, ended: bool) -> float:
    """Stands for a reward model."""
    return float(sum(c.isalpha() and c not in "aeiou" for c in text))


vowels.parts = lambda prompt, text, ended: {"vowels": vowels(prompt, text, False), "ended": float(ended)}  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("contestants")
    return str(tiny_model(folder / "a", seed=1).folder), str(tiny_model(folder / "b", seed=2).folder)


@pytest.fixture
def configure(tmp_path: Path, contestants: tuple[str, str]) -> Configure:
    store = str(tmp_path / "feedback.db")
    with Store.open(store) as opened:
        opened.add_prompts(PROMPTS, name="default", split="test")
    one, two = contestants

    def make(folder: str = "evaluate", **changes: Any) -> evaluate.Config:
        known: dict[str, Any] = {
            "folder": tmp_path / folder,
            "store": store,
            "policies": (Policy("one", one), Policy("two", two), Policy("best", one, best_of=3)),
            "judges": (("judge", f"python:{__name__}:vowels"),),
            "reward": f"python:{__name__}:consonants",
            "samples": 2,
            "max_tokens": 12,
        }
        return evaluate.Config(**(known | changes))

    return make


def rows(config: evaluate.Config, name: str) -> list[list[dict[str, Any]]]:
    """The answers on disk, (prompt, sample)."""
    lines = (config.folder / "answers" / f"{name}.jsonl").read_text().splitlines()
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(json.loads(line)["prompt"], []).append(json.loads(line))
    return [found[prompt.id] for prompt in PROMPTS]


def judge(row: Mapping[str, Any]) -> float:
    return vowels(PROMPTS[0], row["text"], row["ended"])


def wins(ours: list[list[float]], theirs: list[list[float]]) -> float:
    points = [(a > b) + 0.5 * (a == b) for x, y in zip(ours, theirs, strict=True) for a in x for b in y]
    return sum(points) / len(points)


def mean(values: list[Any]) -> float:
    return sum(values) / len(values)


def test_the_figures_are_those_of_the_answers_on_disk(configure: Configure) -> None:
    config = configure(against=("one", "two"))
    result = evaluate.run(config)
    one, two = rows(config, "one"), rows(config, "two")
    # A best of 3 picks from samples 0..2, so that its source drew a fourth, and all four count as the source's own;
    # "best" has no file of its own.
    assert [len(row) for row in one] == [4] * 5
    assert [len(row) for row in two] == [2] * 5
    assert not (config.folder / "answers" / "best.jsonl").exists()
    own = [[judge(r) for r in row] for row in one]
    other = [[judge(r) for r in row] for row in two]
    picked = [max(row[:3], key=lambda r: consonants(PROMPTS[0], r["text"], True)) for row in one]
    best = [[judge(r)] for r in picked]
    figures = result.policies
    assert figures["one"]["judges"]["judge"]["value"] == pytest.approx(mean([mean(r) for r in own]))
    assert figures["one"]["judges"]["judge"]["parts"]["ended"] == mean([r["ended"] for row in one for r in row])
    assert figures["best"]["judges"]["judge"]["value"] == pytest.approx(mean([r[0] for r in best]))
    assert figures["two"]["win_rates"]["judge"]["one"]["value"] == pytest.approx(wins(other, own))
    assert figures["two"]["win_rates"]["judge"]["one"]["pairs"] == 5 * 2 * 4
    assert figures["best"]["win_rates"]["judge"]["two"]["value"] == pytest.approx(wins(best, other))
    # Against its own policy the best meets the sample that it could not pick.
    spare = [[judge(row[3])] for row in one]
    assert figures["best"]["win_rates"]["judge"]["one"]["value"] == pytest.approx(wins(best, spare))
    assert figures["best"]["win_rates"]["judge"]["one"]["pairs"] == 5
    assert "one" not in figures["one"]["win_rates"]["judge"]
    assert figures["two"]["tokens"] == mean([len(r["tokens"]) for row in two for r in row])
    assert figures["two"]["eos_share"] == mean([r["ended"] for row in two for r in row])
    consonant = [[consonants(PROMPTS[0], r["text"], True) for r in row] for row in two]
    assert figures["two"]["rm"] == pytest.approx(mean([mean(r) for r in consonant]))
    assert figures["two"]["greedy"] is None
    assert json.loads((config.folder / "results.json").read_text())["policies"] == figures


def test_same_length_counts_pairs_that_ended_and_are_near(configure: Configure) -> None:
    config = configure(max_tokens=60, samples=24, policies=configure().policies[:2])
    rate = evaluate.run(config).policies["two"]["same_length"]["judge"]["one"]
    kept: list[list[float]] = []
    for ours, theirs in zip(rows(config, "two"), rows(config, "one"), strict=True):
        kept.append([])
        for a in ours:
            for b in theirs:
                x, y = len(a["tokens"]), len(b["tokens"])
                if a["ended"] and b["ended"] and abs(x - y) < 0.25 * max(x, y):
                    kept[-1].append((judge(a) > judge(b)) + 0.5 * (judge(a) == judge(b)))
    flat = [point for row in kept for point in row]
    assert len(flat) > 5
    assert rate["value"] == pytest.approx(mean(flat))
    assert (rate["pairs"], rate["prompts"]) == (len(flat), sum(bool(row) for row in kept))


def test_kl_equals_that_of_whole_forward_passes(configure: Configure, contestants: tuple[str, str]) -> None:
    config = configure(kl_to="one", temperature=0.8)
    figures = evaluate.run(config).policies
    assert figures["one"]["kl"] == {"value": 0.0, "low": 0.0, "high": 0.0, "to": "one", "bound": False}
    assert figures["best"]["kl"]["value"] == pytest.approx(math.log(3) - 2 / 3)
    assert figures["best"]["kl"]["bound"] is True
    models = [AutoModelForCausalLM.from_pretrained(folder).eval() for folder in contestants]
    tokens = Tokens.load(contestants[0])
    kls = []
    for prompt, row in zip(PROMPTS, rows(config, "two"), strict=True):
        ids = tokens.prompt(prompt)
        for r in row:
            whole = torch.tensor([[*ids, *r["tokens"]]])
            with torch.no_grad():
                reference, policy = [(m(whole).logits[0] / 0.8).log_softmax(-1) for m in models]
            places, targets = range(len(ids) - 1, whole.shape[1] - 1), r["tokens"]
            kls.append(float(sum(policy[i, t] - reference[i, t] for i, t in zip(places, targets, strict=True))))
    assert figures["two"]["kl"]["value"] == pytest.approx(mean(kls), abs=1e-4)


def test_greedy_answers_are_compared_apart(configure: Configure) -> None:
    config = configure(greedy="all", show_first=1, show=("BREAD",))
    result = evaluate.run(config)
    one, two = (rows(config, f"{name}+greedy") for name in ("one", "two"))
    greedy = [[[judge(r) for r in row] for row in policy] for policy in (two, one)]
    figures = result.policies["two"]["greedy"]
    assert figures["win_rates"]["judge"]["one"]["value"] == pytest.approx(wins(*greedy))
    assert figures["win_rates"]["judge"]["one"]["pairs"] == 5
    assert result.policies["best"]["greedy"] is None
    assert [row["prompt"] for row in result.shown] == ["What is rain?", "What is bread?"]
    assert result.shown[0]["answers"]["one"]["text"] == one[0][0]["text"]
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(result)
    assert "judge: wins vs one" in console.export_text()


def test_a_system_message_is_for_the_policy_and_not_for_the_judge(
    configure: Configure, contestants: tuple[str, str]
) -> None:
    seen: set[Prompt] = set()

    def watch(prompt: Prompt, text: str, ended: bool) -> float:
        seen.add(prompt)
        return 0.0

    policies = (Policy("plain", contestants[0]), Policy("told", contestants[0], system="Be brief."))
    config = configure(policies=policies, kl_to="plain", judges=(("watch", f"python:{__name__}:vowels"),))
    result = evaluate.run(config, judges={"watch": PythonReward(watch)})
    assert seen == set(PROMPTS)
    assert result.policies["told"]["kl"]["value"] != 0.0
    assert rows(config, "plain") != rows(config, "told")
    assert all(v["watch"]["plain"]["value"] == 0.5 for k, v in _rates(result).items() if k == "told")


def _rates(result: evaluate.Result) -> dict[str, Any]:
    return {name: figures["win_rates"] for name, figures in result.policies.items()}


class Killed(Exception):
    pass


def test_what_was_sampled_is_not_sampled_again(configure: Configure) -> None:
    class Dies:
        def scores(self, prompts: Any, answers: Any, ended: Any = None) -> Any:
            raise Killed

    config = configure()
    with pytest.raises(Killed):
        evaluate.run(config, judges={"more": Dies()})
    path = config.folder / "answers" / "one.jsonl"
    before = path.stat().st_mtime_ns
    result = evaluate.run(config)
    assert path.stat().st_mtime_ns == before
    assert evaluate.run(config) == result  # done
    assert json.loads(json.dumps(result.policies)) == result.policies
    fresh = evaluate.run(configure("fresh", rows=3))
    assert fresh.policies == result.policies  # however many rows decode side by side
    (config.folder / "results.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        evaluate.run(config)


def test_people_compare_without_knowing_whose_text_it_is(configure: Configure) -> None:
    config = configure(labellers="people", judges=(), overlap=1)
    with pytest.raises(LabellingPaused, match="5 answers by people are still wanted"):
        evaluate.run(config)
    record = read_run(config.folder)
    assert record is not None
    assert record.status == "interrupted"
    # Ann prefers what "two" wrote, wherever it stands.
    with Store.open(config.store) as store:
        ann = Labeller("ann", "person")
        while lease := store.lease(ann, purpose="evaluate"):
            assert lease.question.prompt in PROMPTS
            ordered = sorted(lease.question.candidates, key=lambda c: "two" not in c.origin)
            store.answer(Answer(lease.question.id, ann, ((ordered[0].id,), tuple(c.id for c in ordered[1:]))))
    figures = evaluate.run(config).policies
    assert figures["two"]["win_rates"]["people"]["one"]["value"] == 1.0
    assert figures["two"]["win_rates"]["people"]["one"]["prompts"] == 5
    assert figures["best"]["win_rates"]["people"]["one"]["value"] == 0.5  # tied everywhere
    assert figures["one"]["win_rates"]["people"] == {}


def test_a_policy_on_the_command_line() -> None:
    assert parse_policy("sft=runs/sft/model") == Policy("sft", "runs/sft/model")
    assert parse_policy("best=a,b=c,best_of=4") == Policy("best", "a,b=c", best_of=4)
    assert parse_policy("p=m,system=Be kind, best_of=2") == Policy("p", "m", system="Be kind, best_of=2")
    with pytest.raises(ValueError, match="wanted NAME=FOLDER"):
        parse_policy("runs/sft/model")


def test_a_configuration_comes_back_from_json(configure: Configure) -> None:
    config = configure()
    assert configs.from_dict(evaluate.Config, configs.dump(config)) == config


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"policies": (Policy("one", "a"),)}, "two or more"),
        ({"policies": (Policy("one", "a"), Policy("ONE", "b"))}, "each name once"),
        ({"policies": (Policy("one", "a"), Policy("two", "a"))}, "differ in model"),
        ({"against": ("nobody",)}, "names of policies"),
        ({"kl_to": "best"}, "without best_of"),
        ({"reward": None}, "who picks the best of n"),
        ({"judges": (("rm", "python:a:b"),)}, "neither 'rm'"),
        ({"judges": (), "reward": None, "policies": (Policy("one", "a"), Policy("two", "b"))}, "one or more judges"),
        ({"temperature": 0.0}, "greedy"),
        ({"samples": 0}, "samples is 0"),
        (
            {
                "policies": (Policy("o", "a"), Policy("x", "a", best_of=2), Policy("y", "a", best_of=4)),
                "against": ("x",),
            },
            "that y picks from",
        ),
    ],
)
def test_nonsense_is_refused(configure: Configure, changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        evaluate.run(configure(**changes))


def test_what_is_missing_is_told(configure: Configure) -> None:
    with pytest.raises(DataError, match="no prompts in split 'nothing'"):
        evaluate.run(configure(split="nothing"))
    with pytest.raises(ModelError):
        evaluate.run(configure("gone", policies=(Policy("one", "nowhere/at/all"), Policy("two", "neither"))))
    with pytest.raises(ConfigError, match="names a file"):
        Policy("../up", "a")


def test_plain_text_takes_no_system_message(configure: Configure, contestants: tuple[str, str]) -> None:
    config = configure(policies=(Policy("a", contestants[0], system="x"), Policy("b", contestants[1])), prompts="plain")
    with Store.open(config.store) as store:
        store.add_prompts([Prompt(text="Once upon a time")], name="plain", split="test")
    with pytest.raises(DataError, match="takes no system message"):
        evaluate.run(config)


def test_models_judges_and_rewriters_are_parents(configure: Configure, contestants: tuple[str, str]) -> None:
    base, told = contestants[0], "python:backflip.demo.task:best_prompted"
    config = configure(policies=(Policy("one", base), Policy("two", base, told)), reward=None, kl_to=None)
    evaluate.run(config)
    found = read_run(config.folder)
    assert found is not None
    *named, prompts = found.parents
    assert [parent.kind for parent in named] == ["model", "data", "data"]
    assert [parent.ref for parent in named[1:]] == [told, config.judges[0][1]]
    assert set(named[0].detail) == {"sha256"}
    assert prompts.detail["prompts"] > 0


def test_answers_to_other_prompts_are_refused(configure: Configure) -> None:
    config = configure()
    path = config.folder / "answers" / "one.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"prompt": "x", "sample": 0, "text": "", "ended": true, "tokens": [], "logprobs": []}\n')
    with pytest.raises(CheckpointError, match="answers to other prompts"):
        evaluate.run(config)


def test_a_system_message_replaces_the_prompts_own() -> None:
    from backflip.evaluation.answers import with_system

    prompt = Prompt.ask("Why?", system="Old.")
    assert with_system(prompt, None) is prompt
    assert with_system(prompt, "New.").messages == (Message("system", "New."), Message("user", "Why?"))
