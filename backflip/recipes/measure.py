"""Public test sets: is it true, is it safe, is it fair? Any number of models side by side.

    python -m backflip.recipes.measure --models base=BASE ppo=runs/ppo/model --measures truthfulqa crows_pairs \
        --folder runs/measure

Each number has its interval and the count of questions behind it. What a model answers is kept by question, so that a
run that was stopped goes on where it was. docs/measure.md defines every number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text
from tyro.constructors import PrimitiveConstructorSpec

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import CheckpointError
from backflip.evaluation.hallucination import Entailment, WordSupport
from backflip.evaluation.harness import run_tasks
from backflip.evaluation.judges import load_truth_judge
from backflip.evaluation.measures import MEASURES, Bench, Judges, Sizes
from backflip.evaluation.published import published_numbers
from backflip.evaluation.toxicity import agreement, load_classifier, published_scores
from backflip.feedback.intervals import told
from backflip.lm.heads import Causal
from backflip.lm.hub import fetch_model
from backflip.lm.parents import parents_of, weights_digest
from backflip.lm.rewards import load_reward
from backflip.recipes.command import command
from backflip.runs import atomic_write_json, open_run
from backflip.runs.ranks import world

__all__ = ["Config", "Measured", "Result", "main", "run"]

RESULTS, HARNESS, PUBLISHED = "results.json", "harness", "published"
Measure = Literal[
    "truthfulqa",
    "truthfulqa_written",
    "toxicity",
    "hallucination",
    "crows_pairs",
    "winogender",
    "safetybench",
    "cvalues",
    "harness",
    "published",
]
Numbers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Measured:
    """A model under the name that its numbers get."""

    name: str
    model: str

    def __post_init__(self) -> None:
        named = re.fullmatch(r"\w[\w.-]*", self.name) is not None
        require(named, "models.name", seen=self.name, wanted="letters, digits, _, . and -: it names a folder")


def _parsed(text: str) -> Measured:
    name, equals, model = text.partition("=")
    if not equals or not model:
        raise ValueError(f"{text!r} is no model; wanted NAME=FOLDER or NAME=HUB/ID")
    return Measured(name, model)


_ModelArgument = PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME=FOLDER",
    instance_from_str=lambda words: _parsed(words[0]),
    is_instance=lambda value: isinstance(value, Measured),
    str_from_instance=lambda value: [f"{value.name}={value.model}"],
)


@dataclass(frozen=True)
class Config:
    """Measures models on public test sets."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder: results.json, and what each model answered in answers/."""
    models: tuple[Annotated[Measured, _ModelArgument], ...] = ()
    """The models, each a Transformers folder or a hub id; `published` needs none."""
    measures: tuple[Measure, ...] = ("truthfulqa", "toxicity", "crows_pairs", "winogender")
    """What to measure. `published` scores InstructGPT's own outputs; `harness` runs lm-evaluation-harness."""
    data: Path | None = field(default=None, metadata=NOT_FINGERPRINTED)
    """A folder with the test sets; none: $BACKFLIP_DATA, else they are fetched from where they were published."""
    limit: int | None = None
    """Only the first so many questions of each set; none: all, but of RealToxicityPrompts 500."""
    promptings: tuple[Literal["qa", "qa_instruction", "instruction"], ...] = ("qa", "qa_instruction")
    """TruthfulQA: with worked examples, with those and the instruction of InstructGPT's appendix, with it alone."""
    samples: int = 25
    """Toxicity: continuations of a prompt without instruction."""
    instructed_samples: int = 5
    """Toxicity: continuations of a prompt that asks for respect, or for bias."""
    toxic_tokens: int = 20
    """Toxicity: tokens of a continuation."""
    answer_tokens: int = 50
    """Tokens of a written answer."""
    classifier: str | None = None
    """Of toxicity: `ID[#LABEL]` of a text classification model, or `python:module:function`; none: the shipped one."""
    truth_judge: str | None = None
    """Of written answers' truth: a causal model that says yes or no, or a function; none: ROUGE-1, as published."""
    information_judge: str | None = None
    """The same of whether they inform; none: whatever is not a refusal."""
    inference: str | None = None
    """Hallucination: a language-inference model by id; none: words, names and numbers."""
    values_judge: str | None = None
    """CValues: a reward model's folder or `python:module:function`; none: no score."""
    tasks: tuple[str, ...] = ()
    """Harness: names of its tasks."""
    task_folder: Path | None = None
    """Harness: a folder of task files of yours."""
    shots: int | None = None
    """Harness: worked examples before each question; none: as the task says."""
    rows: int = 128
    """Samples decoded side by side."""
    batch_tokens: int = 8192
    """Tokens of one pass."""
    seed: int = 0
    """Of sampling and of the bootstrap."""

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        require(len({n.lower() for n in names}) == len(names), "models", seen=names, wanted="each name once")
        require(bool(self.measures), "measures", seen=self.measures, wanted="one or more")
        needy = [measure for measure in self.measures if measure != PUBLISHED]
        require(bool(names) or not needy, "models", seen=names, wanted=f"one or more for {', '.join(needy)}")
        require(HARNESS not in self.measures or bool(self.tasks), "tasks", seen=self.tasks, wanted="one or more")
        for name in ("samples", "instructed_samples", "toxic_tokens", "answer_tokens", "rows", "batch_tokens"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(
            self.instructed_samples <= self.samples,
            "instructed_samples",
            seen=self.instructed_samples,
            wanted=f"at most samples ({self.samples})",
        )
        require(self.limit is None or self.limit >= 1, "limit", seen=self.limit, wanted="1 or more, or none")

    @property
    def sizes(self) -> Sizes:
        """How much is asked."""
        return Sizes(
            self.limit,
            self.samples,
            self.instructed_samples,
            self.toxic_tokens,
            self.answer_tokens,
            self.rows,
            self.batch_tokens,
            self.seed,
        )


@dataclass(frozen=True)
class Result:
    """What results.json holds. `models`: name -> measure -> number -> value, low, high, n.

    `classifier` says how well the classifier of toxicity agrees with Perspective's published scores.
    """

    models: Mapping[str, Mapping[str, Numbers]]
    published: Mapping[str, Numbers]
    classifier: Mapping[str, float] | None

    def __rich__(self) -> Group:
        measures = dict.fromkeys(measure for found in self.models.values() for measure in found)
        tables = [_table(m, {name: found.get(m, {}) for name, found in self.models.items()}) for m in measures]
        if self.published:
            ours = {"of ours with the published": self.published["agreement"]}  # all 12 models are in results.json
            tables.append(_table("InstructGPT's published outputs", ours))
        if self.classifier:
            told = ", ".join(f"{name} {value:.3g}" for name, value in self.classifier.items())
            return Group(*tables, Text(f"toxicity classifier against Perspective's published scores: {told}"))
        return Group(*tables)


def run(config: Config) -> Result:
    """Measures what is not measured yet; the same folder goes on or is done.

    Raises DataError where a test set is not to be had, ModelError where a model does not serve.
    """
    specs = [fetch_model(model.model).folder for model in config.models]
    with open_run(config.folder, recipe="measure", config=config, seed=config.seed, parents=parents_of(specs)) as run:
        if run.done:
            return _read(config.folder / RESULTS)
        judges = _judges(config)
        models: dict[str, dict[str, Numbers]] = {}
        for measured, folder in zip(config.models, specs, strict=True):
            models[measured.name] = _measure(config, measured, folder, judges)
        published = _plain_all(published_numbers(config.data, judges, seed=config.seed)) if _wants(config) else {}
        checked = None
        if {"toxicity", PUBLISHED} & set(config.measures):
            checked = agreement(judges.toxicity, published_scores(config.data, stop=500))
        result = Result(models, published, checked)
        atomic_write_json(config.folder / RESULTS, vars(result))
        run.finish({"file": RESULTS, "models": list(models), "measures": list(config.measures)})
        return result


def _wants(config: Config) -> bool:
    return PUBLISHED in config.measures


def _measure(config: Config, measured: Measured, folder: Path, judges: Judges) -> dict[str, Numbers]:
    asked = [measure for measure in config.measures if measure != PUBLISHED]
    if not asked:
        return {}
    bench = Bench(
        name=measured.name,
        model=Causal.load(folder, device=str(world().device)),
        digest=weights_digest(folder),
        folder=config.folder / "answers" / measured.name,
        data=config.data,
        sizes=config.sizes,
        judges=judges,
        promptings=config.promptings,
    )
    found: dict[str, Numbers] = {}
    for measure in asked:
        if measure == HARNESS:
            numbers = run_tasks(
                bench.model,
                config.tasks,
                folder=config.task_folder,
                shots=config.shots,
                limit=config.limit,
                sizes=config.sizes,
            )
        else:
            numbers = MEASURES[measure](bench)
        found[measure] = {name: number._asdict() for name, number in numbers.items()}
    return found


def _plain_all(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Numbers]:
    return {model: {name: number._asdict() for name, number in own.items()} for model, own in found.items()}


def _judges(config: Config) -> Judges:
    device = str(world().device)
    truth, information = config.truth_judge, config.information_judge
    return Judges(
        toxicity=load_classifier(config.classifier, device=device),
        support=Entailment(config.inference, device=device) if config.inference else WordSupport(),
        truth=load_truth_judge(truth, device=device) if truth else None,
        information=load_truth_judge(information, word="Helpful", device=device) if information else None,
        values=load_reward(config.values_judge, device=device) if config.values_judge else None,
    )


def _read(path: Path) -> Result:
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), though its run is done; delete the folder and measure again"
        ) from error


def _table(title: str, models: Mapping[str, Numbers]) -> Table:
    table = Table("", *(Column(Text(name), justify="right") for name in models), title=title)
    for line in dict.fromkeys(name for numbers in models.values() for name in numbers):
        table.add_row(Text(line), *(Text(_cell(numbers.get(line))) for numbers in models.values()))
    return table


def _cell(number: Mapping[str, float] | None) -> str:
    if number is None:
        return "-"
    return f"{told(number, '.3f', between=' [{}, {}]')} n={number['n']}"


def main() -> None:
    """`python -m backflip.recipes.measure`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
