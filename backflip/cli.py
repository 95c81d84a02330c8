"""`backflip COMMAND ...`: thin subcommands whose options are the fields of each recipe's configuration.

A command's module is imported when the command is given, so that `backflip --help` needs neither torch nor a second.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import tyro
from rich.console import Console

from backflip import __version__, config
from backflip.errors import ConfigError
from backflip.recipes.command import exit_code

__all__ = ["COMMANDS", "CONTROL", "DATA", "LABEL", "RECIPES", "SAFETY", "main"]


class Command(NamedTuple):
    """What a command is for, and what runs it: given the words after its name."""

    summary: str
    run: Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class _ListRuns:
    """Lists runs, oldest first."""

    root: Path = Path("runs")
    """The folder to look under."""


@dataclass(frozen=True)
class _Begun:
    """Goes on with a run that was begun, as it was begun; other options are not wanted."""

    folder: Path
    """The run's folder."""


@dataclass(frozen=True)
class _ShowRun:
    """Shows one run and what it was made from."""

    run: tyro.conf.Positional[str]
    """The run's folder, or its name under the root."""
    root: Path = Path("runs")
    """The folder to look under."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 2 for a bad configuration, 3 for a pause, 130 for Ctrl-C, else 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _dispatch(words, COMMANDS, "backflip"))


def _dispatch(words: Sequence[str], commands: Mapping[str, Command], name: str) -> None:
    first = words[0] if words else "--help"
    if first in ("-h", "--help"):
        _help(commands, name)
    elif first == "--version" and name == "backflip":
        print(f"backflip {__version__}")
    elif first in commands:
        commands[first].run(words[1:])
    else:
        raise ConfigError(f"{name} has no command {first!r}; wanted one of {', '.join(commands)}: see {name} --help")


def _help(commands: Mapping[str, Command], name: str) -> None:
    lines = {command: about.summary for command, about in commands.items()}
    lines |= {"--version": "says which version this is"} if name == "backflip" else {}
    width = max(map(len, lines))
    table = [f"  {command:<{width}}  {summary}" for command, summary in lines.items()]
    print("\n".join([f"usage: {name} COMMAND [OPTIONS]", "", *table, "", f"{name} COMMAND --help explains one"]))


# --- recipes


def _configured(kind: type[Any], words: Sequence[str], name: str) -> Any:
    """The configuration from the command line, over that of `--config FILE` if it is given."""
    rest, file = _config_file(words)
    base = {} if file is None else {"default": config.load(kind, file)}
    about = f"{kind.__doc__}\n\n--config FILE takes the fields from a .json or .toml file; other options go over it."
    return tyro.cli(kind, args=rest, prog=name, description=about, **base)


def _config_file(words: Sequence[str]) -> tuple[list[str], str | None]:
    rest, file = [], None
    queue = iter(words)
    for word in queue:
        if word == "--config":
            file = next(queue, "")
        elif word.startswith("--config="):
            file = word.removeprefix("--config=")
        else:
            rest.append(word)
    if file == "":
        raise ConfigError("--config has no value; wanted the path of a .json or .toml file after it")
    return rest, file


def _recipe(name: str, module: str) -> Callable[[Sequence[str]], None]:
    """`backflip NAME`: the module's `Config` -> `run`; prints the result."""

    def run(words: Sequence[str]) -> None:
        recipe = importlib.import_module(module)
        chosen = _configured(recipe.Config, words, f"backflip {name}")
        _say(recipe.run(chosen))
        folder = getattr(chosen, "folder", None)
        if folder is not None:
            print(f"all of it lies in {folder}")

    return run


def _say(result: Any) -> None:
    if hasattr(result, "__rich__"):
        Console().print(result)
    else:
        print(result)


def _demo(words: Sequence[str]) -> None:
    code = importlib.import_module("backflip.demo.loop").main(words)
    if code:
        raise SystemExit(code)


def _studio(words: Sequence[str]) -> None:
    from backflip.demo.contents import fill_store
    from backflip.studio import command

    command.run(_configured(command.Config, words, "backflip studio"), fill=fill_store)


def _serve(words: Sequence[str]) -> None:
    from backflip.studio.chat import command

    command.run(_configured(command.Config, words, "backflip serve"))


def _chat(words: Sequence[str]) -> None:
    from backflip.chat import terminal

    terminal.run(_configured(terminal.Config, words, "backflip chat"))


# --- control


def _control(words: Sequence[str]) -> None:
    """`backflip control` alone is training in processes; a word after it is one of CONTROL."""
    if words and words[0] in CONTROL:
        CONTROL[words[0]].run(words[1:])
    elif words and not words[0].startswith("-"):
        raise ConfigError(f"backflip control has no command {words[0]!r}; wanted one of {', '.join(CONTROL)}, or none")
    else:
        _train_control(words)


def _train_control(words: Sequence[str]) -> None:
    from backflip.recipes import control_processes as recipe

    if "--resume" not in words:
        chosen = _configured(recipe.Config, words, "backflip control")
    else:
        rest = [word for word in words if word != "--resume"]
        chosen = recipe.read_config(tyro.cli(_Begun, args=rest, prog="backflip control --resume").folder)
    print(f"{recipe.run(chosen)}\nall of it lies in {chosen.folder}")


def _control_demo(words: Sequence[str]) -> None:
    if code := importlib.import_module("backflip.demo.hopper.loop").main(words):
        raise SystemExit(code)


def _teach(words: Sequence[str]) -> None:
    from backflip.demo.hopper import teach

    print(teach.run(_configured(teach.Config, words, "backflip control teach")))


CONTROL: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "alone": Command(
            "in one process, the same numbers each time", _recipe("control alone", "backflip.recipes.control")
        ),
        "demo": Command("a Hopper learns from comparisons of clips, with a GIF at the end", _control_demo),
        "teach": Command("a simulated teacher answers a run through the studio, in a person's time", _teach),
        "film": Command("a GIF of what a run's policy does", _recipe("control film", "backflip.recipes.film")),
    }
)


# --- runs


def _runs(words: Sequence[str]) -> None:
    from backflip.runs.lineage import find_run, list_runs
    from backflip.runs.show import run_page, runs_table

    if words and words[0] == "show":
        wanted = tyro.cli(_ShowRun, args=words[1:], prog="backflip runs show")
        Console().print(run_page(find_run(wanted.root, wanted.run)))
        return
    words = words[1:] if words and words[0] == "list" else words
    root = tyro.cli(_ListRuns, args=words, prog="backflip runs", description=f"{_ListRuns.__doc__} Or: show RUN").root
    runs = list_runs(root)
    Console().print(runs_table(runs, root) if runs else f"no runs under {root}", markup=False)


# --- data


def _data(words: Sequence[str]) -> None:
    _dispatch(words, DATA, "backflip data")


def _data_command(name: str, kind: str, function: str) -> Callable[[Sequence[str]], None]:
    def run(words: Sequence[str]) -> None:
        data = importlib.import_module("backflip.recipes.data")
        print(getattr(data, function)(tyro.cli(getattr(data, kind), args=words, prog=f"backflip data {name}")))

    return run


# --- safety


def _safety(words: Sequence[str]) -> None:
    _dispatch(words, SAFETY, "backflip safety")


def _check(words: Sequence[str]) -> None:
    safety = importlib.import_module("backflip.recipes.safety")
    print(safety.check(tyro.cli(safety.Check, args=words, prog="backflip safety check")))


SAFETY: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "train": Command(
            "a filter from labelled texts or labellers' flags", _recipe("safety train", "backflip.recipes.safety")
        ),
        "check": Command("what filters say of a text", _check),
    }
)
DATA: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "import": Command(
            "rankings or pairs from a file into a store", _data_command("import", "ImportFile", "import_rankings")
        ),
        "export": Command("answers from a store into a file", _data_command("export", "ExportFile", "export_rankings")),
        "demonstrations": Command(
            "demonstrations from a file into a store",
            _data_command("demonstrations", "DemonstrationFile", "import_demonstrations"),
        ),
        "prompts": Command(
            "prompts from a file into a store, split by user", _data_command("prompts", "PromptFile", "import_prompts")
        ),
        "withdraw": Command(
            "answers of a store count no more", _data_command("withdraw", "Withdrawal", "withdraw_answers")
        ),
    }
)


# --- label


def _label(words: Sequence[str]) -> None:
    _dispatch(words, LABEL, "backflip label")


def _label_command(name: str, kind: str, function: str) -> Callable[[Sequence[str]], None]:
    def run(words: Sequence[str]) -> None:
        label = importlib.import_module("backflip.recipes.label")
        print(getattr(label, function)(tyro.cli(getattr(label, kind), args=words, prog=f"backflip label {name}")))

    return run


LABEL: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "import": Command("answers from a labelling tool", _label_command("import", "LabelImport", "import_labels")),
        "export": Command("questions to a labelling tool", _label_command("export", "LabelExport", "export_labels")),
    }
)
_SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sft": "stage 1: a model learns from demonstrations",
        "sample": "stage 2: K completions a prompt, and the questions which is better",
        "ask": "stage 3: the questions get their answers",
        "reward": "stage 4: a reward model learns from the answers",
        "ppo": "stage 5: a policy learns from the reward model",
        "evaluate": "stage 6: policies compared blindly",
        "measure": "public test sets: truthfulness, toxicity, bias, regressions",
        "values": "whose values: one reward a group, and what each choice costs whom",
    }
)
RECIPES: Final[Mapping[str, Command]] = MappingProxyType(
    {name: Command(summary, _recipe(name, f"backflip.recipes.{name}")) for name, summary in _SUMMARIES.items()}
)
COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        **RECIPES,
        "run": Command("the whole loop, round after round", _recipe("run", "backflip.pipeline")),
        "demo": Command("the loop on a small real model: explain it to a six-year-old", _demo),
        "studio": Command("the web site: people rank, compare and write, and watch the training", _studio),
        "chat": Command("a talk with a model, in the terminal", _chat),
        "serve": Command("models behind an OpenAI-compatible API", _serve),
        "control": Command("a robot or a game's player learns from comparisons of clips", _control),
        "report": Command("a run as one HTML file to show", _recipe("report", "backflip.report.command")),
        "runs": Command("lists the runs; `backflip runs show RUN` prints one and its ancestry", _runs),
        "data": Command("files into a store and out of it", _data),
        "label": Command("questions to Label Studio or Argilla, and answers from there", _label),
        "safety": Command("filters: train one, or ask some of them about a text", _safety),
    }
)
