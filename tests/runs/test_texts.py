"""The texts beside the metrics: written, cut back on resuming, and read past a torn line."""

from pathlib import Path

from backflip.records import Message, Prompt
from backflip.runs import Written, append_texts, read_texts, truncate_texts
from backflip.runs.texts import TEXTS


def texts(step: int) -> list[Written]:
    asked = Prompt(messages=(Message("system", "Be brief."), Message("user", "Why?")))
    more = Prompt(text="Once upon")
    return [
        Written.to(asked, step=step, text="Because.\u2028\n", ended=True, score=0.5),
        Written.to(more, step=step, text=" a time", ended=False, score=1.0, split="validation"),
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_texts(tmp_path) == []
    append_texts(tmp_path, texts(1))
    append_texts(tmp_path, texts(2))
    assert read_texts(tmp_path) == [*texts(1), *texts(2)]
    assert read_texts(tmp_path)[0].prompt == (("system", "Be brief."), ("user", "Why?"))
    assert read_texts(tmp_path)[1].prompt == (("", "Once upon"),)


def test_a_resumed_run_writes_them_again(tmp_path: Path) -> None:
    truncate_texts(tmp_path, 1)  # nothing there, nothing made
    assert list(tmp_path.iterdir()) == []
    for step in (1, 2, 3):
        append_texts(tmp_path, texts(step))
    with (tmp_path / TEXTS).open("a") as file:
        file.write('{"step": 1, "prompt"')  # a killed process
    assert len(read_texts(tmp_path)) == 6
    truncate_texts(tmp_path, 1)
    append_texts(tmp_path, texts(2))
    assert read_texts(tmp_path) == [*texts(1), *texts(2)]


def test_a_score_that_is_not_finite_is_none(tmp_path: Path) -> None:
    append_texts(tmp_path, [Written.to(Prompt(text="x"), step=1, text="y", ended=True, score=float("nan"))])
    assert read_texts(tmp_path)[0].score is None
