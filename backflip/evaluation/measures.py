"""The measurements by name: each asks one model its questions and gives numbers.

A `Bench` is a model with what all measurements need of it; what it answers is kept by question in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from backflip.evaluation import bias, chinese, hallucination, toxicity, truthfulness
from backflip.evaluation.choices import Choice, answered_choices, opened
from backflip.evaluation.continuations import continuations, first_line
from backflip.evaluation.judges import TruthJudge
from backflip.evaluation.numbers import Number, mean, share
from backflip.lm.heads import Causal
from backflip.lm.rewards import Rewards
from backflip.lm.sampler import SamplerConfig
from backflip.lm.tokens import Tokens
from backflip.records import Prompt

__all__ = ["MEASURES", "Bench", "Judges", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """How much is asked."""

    limit: int | None = None  # the first so many questions of each set; none: all (of RealToxicityPrompts 500)
    samples: int = 25  # continuations of a prompt without instruction
    instructed_samples: int = 5  # and with one
    toxic_tokens: int = 20
    answer_tokens: int = 50
    rows: int = 128
    batch_tokens: int = 8192
    seed: int = 0


@dataclass(frozen=True)
class Judges:
    """Who decides where a number needs a judge; None: the rule, or no such number."""

    toxicity: toxicity.Classifier
    support: hallucination.Supported
    truth: TruthJudge | None = None
    information: TruthJudge | None = None
    values: Rewards | None = None


@dataclass(frozen=True)
class Bench:
    """One model on the bench. `digest` is of its weights; `data` the folder of the public sets, if one is named."""

    name: str
    model: Causal
    digest: str
    folder: Path
    data: Path | None
    sizes: Sizes
    judges: Judges
    promptings: tuple[str, ...] = ("qa", "qa_instruction")

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.model.tokenizer, name=f"the tokenizer of {self.name}")

    def logprobs(self, kind: str, choices: Sequence[Choice]) -> list[list[float]]:
        """Each option's log-probability, kept by question."""
        return answered_choices(
            self.folder / f"{kind}.jsonl",
            choices,
            model=self.model,
            name=self.digest,
            batch_tokens=self.sizes.batch_tokens,
            label=f"{self.name}: {kind}",
        )

    def written(
        self,
        kind: str,
        keys: Sequence[str],
        prompts: Sequence[tuple[int, ...]],
        *,
        samples: int = 1,
        tokens: int,
        temperature: float = 0.0,
    ) -> list[list[str]]:
        """What the model writes after each prompt, kept by question."""
        return continuations(
            self.folder / f"{kind}.jsonl",
            model=self.model,
            name=self.digest,
            keys=keys,
            prompts=prompts,
            samples=samples,
            settings=SamplerConfig(tokens, temperature, self.sizes.rows, self.sizes.seed),
            label=f"{self.name}: {kind}",
        )


def _truthfulqa(bench: Bench) -> dict[str, Number]:
    asked = truthfulness.questions(bench.data, bench.sizes.limit)
    found: dict[str, Number] = {}
    for prompting in bench.promptings:
        choices = truthfulness.choices(bench.tokens, asked, prompting)
        logprobs = bench.logprobs(f"truthfulqa-{prompting}", choices)
        scored = [truthfulness.multiple_choice(q, row) for q, row in zip(asked, logprobs, strict=True)]
        found[f"mc1/{prompting}"] = share([bool(one.mc1) for one in scored])
        for name in ("mc2", "mc3"):
            found[f"{name}/{prompting}"] = mean([getattr(one, name) for one in scored], seed=bench.sizes.seed)
    return found


def _truthfulqa_written(bench: Bench) -> dict[str, Number]:
    asked = truthfulness.questions(bench.data, bench.sizes.limit)
    found: dict[str, Number] = {}
    for prompting in bench.promptings:
        opening = truthfulness.PROMPTINGS[prompting]
        prompts = [opened(bench.tokens, f"{opening}Q: {q.text}\nA:") for q in asked]
        rows = bench.written(
            f"truthfulqa-written-{prompting}", [q.text for q in asked], prompts, tokens=bench.sizes.answer_tokens
        )
        answers = [first_line(row[0]) for row in rows]
        verdicts = [truthfulness.judged_by_rule(q, a) for q, a in zip(asked, answers, strict=True)]
        named = {"true": [v.true for v in verdicts], "informative": [v.informative for v in verdicts]}
        pairs = [(q.text, a) for q, a in zip(asked, answers, strict=True)]
        if bench.judges.truth is not None:
            named["true"] = bench.judges.truth.probabilities(pairs)
        if bench.judges.information is not None:
            named["informative"] = bench.judges.information.probabilities(pairs)
        named["true_and_informative"] = [t * i for t, i in zip(named["true"], named["informative"], strict=True)]
        found |= {f"{name}/{prompting}": mean(values, seed=bench.sizes.seed) for name, values in named.items()}
    return found


def _toxicity(bench: Bench) -> dict[str, Number]:
    sizes = bench.sizes
    asked = toxicity.prompts(bench.data, sizes.limit or toxicity.MEASURED)
    found: dict[str, Number] = {}
    for name, opening in toxicity.PROMPTINGS.items():
        rows = bench.written(
            f"toxicity-{name}",
            [prompt.key for prompt in asked],
            [opened(bench.tokens, opening + prompt.text) for prompt in asked],
            samples=sizes.instructed_samples if opening else sizes.samples,
            tokens=sizes.toxic_tokens,
            temperature=1.0,
        )
        flat = iter(bench.judges.toxicity.scores([text for row in rows for text in row]))
        scores = [[next(flat) for _ in row] for row in rows]
        # The maximum grows with k, so that only equal k may be compared: the first ones stand for all three.
        few = [row[: sizes.instructed_samples] for row in scores]
        if not opening and sizes.samples > sizes.instructed_samples:  # else they are the same
            found |= {f"{key}/{name}": number for key, number in toxicity.numbers(scores, seed=sizes.seed).items()}
        same = toxicity.numbers(few, seed=sizes.seed)
        found |= {f"{key}_of_{len(few[0])}/{name}": number for key, number in same.items()}
    return found


def _crows_pairs(bench: Bench) -> dict[str, Number]:
    asked = bias.crows_pairs(bench.data, bench.sizes.limit)
    logprobs = bench.logprobs("crows_pairs", bias.choices(bench.tokens, asked))
    return bias.crows_numbers(asked, logprobs, seed=bench.sizes.seed)


def _winogender(bench: Bench) -> dict[str, Number]:
    asked = bias.winogender(bench.data, bench.sizes.limit)
    logprobs = bench.logprobs("winogender", bias.choices(bench.tokens, asked))
    return bias.winogender_numbers(asked, logprobs, bias.occupations(bench.data), seed=bench.sizes.seed)


def _hallucination(bench: Bench) -> dict[str, Number]:
    asked = hallucination.closed_questions(bench.data, bench.sizes.limit)
    prompts = [opened(bench.tokens, q.prompt) for q in asked]
    rows = bench.written("hallucination", [q.key for q in asked], prompts, tokens=bench.sizes.answer_tokens)
    answers = [first_line(row[0]) for row in rows]
    return hallucination.numbers(asked, answers, bench.judges.support, seed=bench.sizes.seed)


def _safetybench(bench: Bench) -> dict[str, Number]:
    asked = chinese.safetybench(bench.data, bench.sizes.limit)
    logprobs = bench.logprobs("safetybench", chinese.safetybench_choices(bench.tokens, asked))
    return chinese.safetybench_numbers(asked, logprobs)


def _cvalues(bench: Bench) -> dict[str, Number]:
    asked = chinese.cvalues(bench.data, bench.sizes.limit)
    dialogues = [Prompt.ask(one.text) for one in asked]
    ids = [bench.tokens.opening(dialogue) for dialogue in dialogues]
    rows = bench.written("cvalues", [one.key for one in asked], ids, tokens=bench.sizes.answer_tokens)
    answers = [row[0] for row in rows]
    scores = None
    if bench.judges.values is not None:
        scores = [score for (score,) in bench.judges.values.scores(dialogues, [[answer] for answer in answers])]
    return chinese.cvalues_numbers(asked, answers, scores, seed=bench.sizes.seed)


MEASURES: Mapping[str, Callable[[Bench], dict[str, Number]]] = MappingProxyType(
    {
        "truthfulqa": _truthfulqa,
        "truthfulqa_written": _truthfulqa_written,
        "toxicity": _toxicity,
        "hallucination": _hallucination,
        "crows_pairs": _crows_pairs,
        "winogender": _winogender,
        "safetybench": _safetybench,
        "cvalues": _cvalues,
    }
)
