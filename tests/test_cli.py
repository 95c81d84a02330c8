"""The command line: quick help, one clear error with its exit code, and data that comes in whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backflip import __version__, cli
from backflip.cli import COMMANDS, DATA, RECIPES, main
from backflip.errors import LabellingPaused, OutOfSpace, TrainingDiverged
from backflip.feedback import formats
from backflip.feedback.formats import Ranked
from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.records import Answer, Candidate, Demonstration, Labeller, Prompt, Question

ANN = Labeller("ann", "person")
Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs a command: its exit code, and all that it said."""

    def run(*words: object) -> tuple[int, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, " ".join((out + err).split())

    return run


@pytest.fixture(scope="session")
def cli_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("cli") / "model").folder


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "feedback.db"


def ranked(topic: str, who: Labeller = ANN) -> Ranked:
    question = Question("text", tuple(Candidate(text=f"{topic}{sign}") for sign in ".!?"), Prompt.ask(topic))
    first, second, third = (c.id for c in question.candidates)
    return Ranked(question, Answer(question.id, who, ((second,), (first, third))))


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- help and exit codes


def test_help_needs_no_torch_and_no_second() -> None:
    code = (
        "import sys; from backflip.cli import main; main(['--help']); main(['--version']);"
        "assert not {'torch', 'transformers', 'sqlalchemy'} & set(sys.modules), 'help imports too much'"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 5  # 0.2 s by itself; other tests may run beside it
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert f"backflip {__version__}" in done.stdout


@pytest.mark.parametrize("name", [*RECIPES, "run"])
def test_every_recipe_explains_its_fields(told: Told, name: str) -> None:
    code, said = told(name, "--help")
    assert code == 0
    assert f"usage: backflip {name}" in said
    assert "--seed" in said
    assert "--config FILE" in said


@pytest.mark.parametrize("name", DATA)
def test_every_data_command_explains_itself(told: Told, name: str) -> None:
    assert told("data", name, "--help")[0] == 0
    assert name in told("data")[1]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["nope"], "no command 'nope'; wanted one of sft"),
        (["data", "nope"], "no command 'nope'; wanted one of import"),
        (["ask", "--folder", "x", "--store", "y", "--colour", "red"], "--colour"),
        (["ask", "--folder", "x", "--store", "y", "--judge", "j", "--count", "0"], "count is 0"),
        (["ask", "--folder", "x", "--store", "y", "--labellers", "robots"], "robots"),
        (["ask", "--store", "y"], "--folder"),
        (["ask", "--config"], "--config has no value"),
    ],
)
def test_a_wrong_word_is_told(told: Told, words: Sequence[str], wrong: str) -> None:
    code, said = told(*words)
    assert code == 2
    assert wrong in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TrainingDiverged("the loss is nan"), 1, "the loss is nan"),
        (OutOfSpace("the disk is full"), 1, "the disk is full"),
        (LabellingPaused("paused"), 3, "paused"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on"),
    ],
)
def test_an_error_is_its_message_and_its_exit_code(
    told: Told, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fails(_: Sequence[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "COMMANDS", {"sft": cli.Command("", fails)})
    assert told("sft") == (code, words)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", {"sft": cli.Command("", lambda _: json.loads("{"))})
    with pytest.raises(json.JSONDecodeError):
        main(["sft"])


# --- recipes


def test_a_recipe_runs_says_where_and_goes_on(told: Told, tmp_path: Path, db: Path) -> None:
    with Store.open(db) as store:
        store.add_questions([ranked("rain").question])
    words = ("ask", "--folder", tmp_path / "ask", "--store", db, "--labellers", "people")
    code, said = told(*words, "--patience-seconds", "0.01", "--poll-seconds", "0.01")
    assert code == 3
    assert "1 answers to 1 questions are still wanted" in said
    with Store.open(db) as store:
        store.answer(ranked("rain").answer)
    code, said = told(*words)
    assert code == 0
    assert f"1 answers to 1 questions, asked of people; the last is number 1 all of it lies in {tmp_path}" in said
    assert "interrupted" not in told("runs", "--root", tmp_path)[1]
    code, said = told("runs", "show", "ask", "--root", tmp_path)
    assert code == 0
    assert "labellers" in said
    assert told("runs", "show", "nothing", "--root", tmp_path)[0] == 1


def test_the_keyboard_works_through_a_pipe_and_without_torch(tmp_path: Path, db: Path) -> None:
    with Store.open(db) as store:
        store.add_questions([ranked(topic).question for topic in ("rain", "snow")])
    words = ["ask", "--folder", str(tmp_path / "ask"), "--store", str(db), "--labellers", "keyboard"]
    code = (
        "import sys; from backflip.cli import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )

    def type_in(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *words], input=text, capture_output=True, text=True, check=False
        )

    first = type_in("bca\n")
    assert first.returncode == 3
    assert "the same command goes on" in first.stderr
    second = type_in("b=ca\n")
    assert second.returncode == 0, second.stderr
    assert "2 answers to 2 questions, asked of people" in second.stdout


def test_a_config_file_and_options_over_it(told: Told, tmp_path: Path, db: Path) -> None:
    with Store.open(db) as store:
        store.add_questions([ranked("rain").question])
    fields = {"folder": str(tmp_path / "ask"), "store": str(db), "labellers": "people", "purpose": "nothing"}
    file = lines(tmp_path / "ask.json", fields)
    assert "no question of purpose 'nothing'" in told("ask", "--config", file)[1]
    assert "no question of purpose 'more'" in told("ask", f"--config={file}", "--purpose", "more")[1]
    toml = tmp_path / "ask.toml"
    toml.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items()))
    assert "no question of purpose 'nothing'" in told("ask", "--config", toml)[1]
    lines(file, fields | {"porpose": "x"})
    code, said = told("ask", "--config", file)
    assert code == 2
    assert "unknown field 'porpose' of Config; did you mean purpose" in said
    assert told("ask", "--config", tmp_path / "none.json")[0] == 2


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("sft", ["--model", "MISSING"]),
        ("sample", ["--model", "MISSING"]),
        ("reward", ["--model", "MISSING"]),
        ("ppo", ["--policy", "MISSING", "--reward", "python:json:dumps", "1.0"]),
        ("evaluate", ["--policies", "a=MISSING", "b=MISSING,best_of=2", "--reward", "python:json:dumps"]),
    ],
)
def test_a_missing_model_is_told(told: Told, tmp_path: Path, db: Path, recipe: str, words: Sequence[str]) -> None:
    fill(db)
    missing = str(tmp_path / "no-model")
    given = [word.replace("MISSING", missing) for word in words]
    code, said = told(recipe, "--folder", tmp_path / "run", "--store", db, *given)
    assert code == 1
    assert missing in said
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("recipe", "words", "empty"),
    [
        ("sft", ["--model", "MODEL"], "demonstrations"),
        ("sample", ["--model", "MODEL"], "no prompts"),
        ("reward", ["--model", "MODEL"], "answer"),
        ("ppo", ["--policy", "MODEL", "--reward", "python:json:dumps", "1.0"], "no prompts"),
        ("evaluate", ["--policies", "a=MODEL", "b=MODEL,best_of=2", "--reward", "python:json:dumps"], "no prompts"),
        ("ask", ["--judge", "python:json:dumps"], "no question"),
    ],
)
def test_an_empty_data_set_is_told(
    told: Told, tmp_path: Path, db: Path, cli_model: Path, recipe: str, words: Sequence[str], empty: str
) -> None:
    Store.open(db).close()
    given = [word.replace("MODEL", str(cli_model)) for word in words]
    code, said = told(recipe, "--folder", tmp_path / "run", "--store", db, *given)
    assert code == 1
    assert empty in said


def fill(db: Path) -> None:
    rows = [ranked(topic) for topic in ("rain", "snow", "bees", "bread")]
    prompts = [question.prompt for question, _ in rows if question.prompt]
    with Store.open(db) as store:
        store.add_questions([question for question, _ in rows])
        for _, answer in rows:
            store.answer(answer)
        store.add_demonstrations([Demonstration(p, "Water.", Labeller("makers", "maker")) for p in prompts])
        for split, prompt in zip(("train", "train", "validation", "test"), prompts, strict=True):
            store.add_prompts([prompt], name="default", split=split)


# --- data


def test_rankings_go_out_and_come_back(told: Told, tmp_path: Path, db: Path) -> None:
    fill(db)
    file = tmp_path / "out.jsonl.gz"
    assert told("data", "export", file, "--store", db) == (0, f"4 rows written to {file}")
    other = tmp_path / "other.db"
    said = f"4 answers and 4 questions from {file}, 0 were there already"
    assert told("data", "import", file, "--store", other) == (0, said)
    with Store.open(db) as here, Store.open(other) as there:
        assert list(here.answers()) == list(there.answers())
        assert there.counts().wanted == 0
    assert "0 answers and 0 questions" in told("data", "import", file, "--store", other)[1]
    assert "4 were there already" in told("data", "import", file, "--store", db)[1]
    assert "4 answers and 4 questions" in told("data", "import", file, "--store", other, "--purpose", "more")[1]


def test_nothing_is_half_imported(told: Told, tmp_path: Path, db: Path) -> None:
    file = tmp_path / "rankings.jsonl"
    formats.write(file, [ranked("rain"), ranked("snow")], "jsonl")
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    second["answer"]["tiers"][0] = ["0" * 64]  # a candidate that does not exist
    lines(file, first, second)
    code, said = told("data", "import", file, "--store", db)
    assert code == 1
    assert "rankings.jsonl line 2, field 'answer': answer names candidate '000000000000'" in said
    assert not db.exists()
    # The file is well formed and the store refuses its second answer: the first does not stay either.
    with Store.open(db) as store:
        question, answer = ranked("snow")
        store.add_questions([question])
        store.answer(Answer(question.id, ANN, answer.tiers[::-1]))
    formats.write(file, [ranked("rain"), ranked("snow")], "jsonl")
    code, said = told("data", "import", file, "--store", db)
    assert code == 1
    assert "has already answered" in said
    with Store.open(db) as store:
        assert store.counts().questions == 1


def test_rows_that_say_nothing_are_named(told: Told, tmp_path: Path, db: Path) -> None:
    same = "\n\nHuman: Hi\n\nAssistant: Hello"
    pair = {"chosen": f"{same}!", "rejected": f"{same}?"}
    file = lines(tmp_path / "hh.jsonl", pair, {"chosen": same, "rejected": same})
    code, said = told("data", "import", file, "--store", db, "--format", "hh")
    assert code == 0
    assert "1 answers and 1 questions" in said
    assert "left out: hh.jsonl line 2: both sides are the same text" in said


def test_prompts_come_in_with_a_report(told: Told, tmp_path: Path, db: Path) -> None:
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Bye"},
    ]
    rows: list[Any] = [{"prompt": "Why is snow cold?"}, {"prompt": "why is  snow cold?", "user": "bob"}]
    file = lines(tmp_path / "prompts.jsonl", *rows, {"prompt": chat, "user": "eve"}, {"text": "Once upon"})
    words = ("data", "prompts", file, "--store", db, "--name", "mine", "--validation", "0", "--test", "0")
    code, said = told(*words)
    assert code == 0
    assert "3 prompts" in said
    assert "exact duplicates: 1" in said
    with Store.open(db) as store:
        found = list(store.prompts(name="mine", split="train"))
    assert [len(p.messages) for p in found] == [1, 3, 0]
    assert found[1].user == "eve"
    assert told(*words)[0] == 0  # the same again adds nothing
    lines(file, {"prompt": [{"role": "user", "content": 5}]})
    assert "prompts.jsonl line 1, field 'prompt[0].content'" in told(*words)[1]
    lines(file, {"prompt": [{"role": "king", "content": "?"}]})
    assert "message role is 'king'" in told(*words)[1]
    lines(file, {"question": "?"})
    assert "prompts.jsonl line 1, field 'prompt': is missing" in told(*words)[1]


def test_demonstrations_come_in(told: Told, tmp_path: Path, db: Path) -> None:
    file = tmp_path / "shown.jsonl"
    formats.write_demonstrations(file, [Demonstration(Prompt.ask("Why?"), "So.", Labeller("makers", "maker"))])
    assert told("data", "demonstrations", file, "--store", db) == (
        0,
        f"1 demonstrations from {file}, 0 were there already",
    )
    assert "1 were there already" in told("data", "demonstrations", file, "--store", db)[1]


def test_answers_are_withdrawn_by_number_or_labeller(told: Told, db: Path) -> None:
    fill(db)
    words = ("data", "withdraw", "--store", db, "--reason", "asked to")
    assert told(*words, "--number", "2") == (
        0,
        f"1 answers of {db} count no more; their questions are open again, for other labellers",
    )
    with Store.open(db) as store:
        assert [n.sequence for n in store.answers()] == [1, 3, 4]
        assert [(w.sequence, w.reason) for w in store.withdrawals()] == [(2, "asked to")]
    assert told(*words, "--labeller", ANN.id)[1].startswith("3 answers")
    with Store.open(db) as store:
        assert not list(store.answers())
    assert told(*words, "--number", "9") == (1, "the store has no answer 9 to withdraw")
    assert told(*words)[0] == told(*words, "--number", "1", "--labeller", ANN.id)[0] == 2
    assert told(*words[:4], "--reason", " ", "--number", "1")[0] == 2
    assert "there is no store" in told("data", "withdraw", "--store", f"{db}.no", "--reason", "x", "--number", "1")[1]


def test_there_must_be_something_to_export(told: Told, tmp_path: Path, db: Path) -> None:
    assert "there is no store" in told("data", "export", tmp_path / "x.jsonl", "--store", db)[1]
    assert not db.exists()
    with Store.open(db):
        pass
    assert told("data", "export", tmp_path / "x.jsonl", "--store", db)[0] == 1
    assert not (tmp_path / "x.jsonl").exists()


# --- label


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_questions_go_to_a_tool_and_answers_come_back(told: Told, tmp_path: Path, tool: str) -> None:
    db, tasks = str(tmp_path / "ours.db"), tmp_path / "tasks.json"
    asked = [Question("text", (Candidate("a"), Candidate("b")), Prompt.ask(f"{i}?"), priority=i) for i in range(3)]
    with Store.open(db) as store:
        store.add_questions(asked)
        first, second = (c.id for c in asked[0].candidates)
        store.answer(Answer(asked[0].id, Labeller("ann", "person"), ((second,), (first,)), seconds=4.0))
    words = ("--store", db, "--format", tool)
    assert told("label", "export", tasks, "--unanswered", *words) == (0, f"2 questions written to {tasks}")
    shown = [(row.get("data") or row["fields"])["prompt"] for row in json.loads(tasks.read_text())]
    assert shown == ["2?", "1?"]  # the highest priority first
    assert told("label", "export", tasks, *words) == (0, f"1 rows written to {tasks}")
    other = str(tmp_path / "other.db")
    said = f"1 answers and 1 questions from {tasks}, 0 were there already"
    assert told("label", "import", tasks, "--store", other, "--format", tool) == (0, said)
    with Store.open(db) as ours, Store.open(other) as theirs:
        assert list(theirs.answers()) == list(ours.answers())
    assert "there is no store" in told("label", "export", tasks, "--store", f"{db}.no", "--unanswered")[1]
    assert told("label", "import", "--help")[0] == 0


@pytest.mark.parametrize("kind", ["data", "label"])
def test_what_was_withdrawn_goes_nowhere_and_does_not_come_back(
    told: Told, tmp_path: Path, db: Path, kind: str
) -> None:
    """Training reads the same `Store.answers`: tests/recipes/test_reward.py and tests/end_to_end/test_loop.py."""
    fill(db)
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    told(kind, "export", before, "--store", db)
    with Store.open(db) as store:
        gone = next(a for n, a in store.answers() if n == 2)
    told("data", "withdraw", "--store", db, "--reason", "asked to", "--number", "2")
    assert told(kind, "export", after, "--store", db)[1].startswith("3 rows")
    assert "snow" in before.read_text()
    assert "snow" not in after.read_text()
    assert "4 were there already" in told(kind, "import", before, "--store", db)[1]
    with Store.open(db) as store:
        assert gone not in [a for _, a in store.answers()]
        assert (store.snapshot().answers, store.counts().withdrawn) == (3, 1)
        assert gone.question in [q.id for q in store.questions()]  # open again, for others
    if kind == "label":
        told("label", "export", after, "--store", db, "--unanswered")
        assert "snow" in after.read_text()


_READERS = {
    "sft": "--model M",
    "sample": "--model M --prompts p",
    "ask": "--labellers people",
    "reward": "--model M",
    "ppo": "--policy M --reward M 1.0 --prompts p",
    "evaluate": "--policies a=M b=N --against a --prompts p --judges j python:a:b",
    "values": "--model M",
    "safety train": "",
    "run": "--model M",
}


@pytest.mark.parametrize("command", _READERS)
def test_a_mistyped_store_is_refused_and_nothing_is_made(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*command.split(), *_READERS[command].split(), "--store", "nowhere/feedback.db", "--folder", "out"]
    code, said = told(*words)
    assert code == 1
    assert "there is no store at nowhere/feedback.db; wanted one that was filled: check the path of --store" in said
    assert not list(tmp_path.iterdir())
