"""Regressions on public tasks, through lm-evaluation-harness's own API: our models answer its requests.

The harness (Gao et al., zenodo 10256836) brings the tasks, prompts and metrics; here is only the model that it asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backflip.errors import DataError, DependencyError
from backflip.evaluation.choices import Choice, opened, option_scores
from backflip.evaluation.measures import Sizes
from backflip.evaluation.numbers import Number
from backflip.lm.heads import Causal
from backflip.lm.sampler import LocalSampler, SamplerConfig
from backflip.lm.tokens import Tokens

__all__ = ["run_tasks"]

_Z = 1.959964


def run_tasks(
    model: Causal,
    tasks: Sequence[str],
    *,
    folder: Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    sizes: Sizes = Sizes(),
) -> dict[str, Number]:
    """`TASK/METRIC` -> its number; the interval is of the harness's standard error, where it has one.

    `folder` holds task files of yours. Raises DependencyError without the harness, DataError for an unknown task.
    """
    evaluator, manager = _harness(folder)
    if unknown := sorted(set(tasks) - set(manager.all_tasks)):
        raise DataError(
            f"lm-evaluation-harness has no task {', '.join(unknown)}; see `lm_eval ls tasks`, or give a folder"
        )
    found = evaluator.simple_evaluate(
        model=_answering(model, sizes),
        tasks=list(tasks),
        task_manager=manager,
        num_fewshot=shots,
        limit=limit,
        bootstrap_iters=1000,
        random_seed=sizes.seed,
        numpy_random_seed=sizes.seed,
        torch_random_seed=sizes.seed,
        fewshot_random_seed=sizes.seed,
        log_samples=False,
    )
    return {
        f"{task}/{name}": number
        for task, metrics in found["results"].items()
        for name, number in _numbers(metrics, found["n-samples"].get(task, {})).items()
    }


def _numbers(metrics: Mapping[str, Any], counts: Mapping[str, Any]) -> dict[str, Number]:
    count = int(counts.get("effective") or 0)
    found = {}
    for key, value in metrics.items():
        name, comma, kind = key.partition(",")
        if not comma or name.endswith("_stderr") or not isinstance(value, float | int):
            continue
        error = metrics.get(f"{name}_stderr,{kind}")
        half = _Z * error if isinstance(error, float | int) else 0.0
        found[name if kind == "none" else f"{name},{kind}"] = Number(float(value), value - half, value + half, count)
    return found


def _harness(folder: Path | None) -> tuple[Any, Any]:
    try:
        from lm_eval import evaluator
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        message = "the harness needs lm-eval, which is not installed; run: pip install 'backflip[evaluation]'"
        raise DependencyError(message) from error
    return evaluator, TaskManager(include_path=str(folder) if folder else None)


def _answering(model: Causal, sizes: Sizes) -> Any:
    """Our model as the harness wants one. Its base class is only there once the harness is."""
    from lm_eval.api.model import LM

    class Answering(LM):  # type: ignore[misc, unused-ignore]
        """Answers the harness's three kinds of request."""

        def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
            return _loglikelihoods(model, [request.args for request in requests], sizes.batch_tokens)

        def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
            pairs = [("", request.args[0]) for request in requests]
            return [total for total, _ in _loglikelihoods(model, pairs, sizes.batch_tokens)]

        def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
            return [_generated(model, *request.args, sizes=sizes) for request in requests]

    return Answering()


def _loglikelihoods(model: Causal, pairs: Sequence[tuple[str, str]], batch_tokens: int) -> list[tuple[float, bool]]:
    """Of each (context, continuation) the summed log-probability, and whether greedy decoding would write it.

    Options of one context are asked together: the context is computed once.
    """
    tokens = Tokens(model.tokenizer, name="the model's tokenizer")
    split = [_split(tokens, context, continuation) for context, continuation in pairs]
    together: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, _) in enumerate(split):
        together.setdefault(prompt, []).append(i)
    choices = [
        Choice(str(n), prompt, tuple(split[i][1] for i in own)) for n, (prompt, own) in enumerate(together.items())
    ]
    found: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
    rows = option_scores(model, choices, batch_tokens=batch_tokens, greedy=True)
    for own, row in zip(together.values(), rows, strict=True):
        for i, answer in zip(own, row, strict=True):
            found[i] = answer
    return found


def _split(tokens: Tokens, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """As the harness splits: white space at the context's end belongs to the continuation."""
    bare = context.rstrip()
    continuation, context = context[len(bare) :] + continuation, bare
    start = opened(tokens, context)
    if not start:
        begin = tokens.tokenizer.bos_token_id
        return (tokens.eos if begin is None else int(begin),), tokens.text(continuation)
    whole = opened(tokens, context + continuation)
    return whole[: len(start)], whole[len(start) :]


def _generated(model: Causal, context: str, settings: Mapping[str, Any], *, sizes: Sizes) -> str:
    """A continuation up to the first of the request's stops."""
    tokens = Tokens(model.tokenizer, name="the model's tokenizer")
    temperature = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
    config = SamplerConfig(int(settings.get("max_gen_toks", 256)), temperature, sizes.rows, sizes.seed)
    ((completion,),) = LocalSampler(model, config).sample([opened(tokens, context)], samples=1)
    text = str(tokens.tokenizer.decode(list(completion.tokens), skip_special_tokens=True))
    stops = settings.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0] if stop else text
    return text
