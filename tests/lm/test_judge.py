"""The simulated judge: each part by hand, each known cheat loses, and the network is never touched."""

import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.demo.task import demonstrations, topic_of
from backflip.errors import ConfigError
from backflip.lm.judge import Judgement, JudgeWeights, SimulatedJudge, content_stems, stem, whole_sentences
from backflip.records import Prompt

RAIN = Prompt.ask("Explain rain to a six-year-old in a few sentences.")
SOUND = (
    "Tiny drops of water float together in the clouds. When the drops join up and get too heavy to stay in the air, "
    "they fall down as rain. The plants drink it, and the puddles are left for you to splash in."
)
ADULT = (
    "Rain is precipitation that originates when atmospheric water vapor condenses around microscopic particles, "
    "forming droplets that eventually become sufficiently heavy to descend under the influence of gravity. "
    "Meteorologists distinguish several categories, including convective, orographic and frontal rainfall, each "
    "associated with characteristic circulation patterns. Furthermore, precipitation constitutes an essential "
    "component of the hydrological cycle, replenishing aquifers and sustaining terrestrial ecosystems."
)
CHEATS = {
    "empty": "",
    "spaces": " \n ",
    "one word repeated": "rain " * 40,
    "prompt copied": RAIN.messages[-1].content,
    "prompt copied often": " ".join([RAIN.messages[-1].content] * 4),
    "salad": "the cat is big and the cat is big " * 4,
    "salad on the topic": "The rain is big and the rain is big. " * 4,
    "three words": "Rain is water.",
    "exclamations": "Rain! We need it!",
    "short and repeated": "Rain is rain. Rain is wet. Rain is rain.",
    "the same start": " ".join(
        f"Rain is {word}." for word in ("wet", "fun", "good", "nice", "cold", "big", "fast", "old")
    ),
    "too short": "Rain is water that falls from the sky. It helps the plants grow.",
    "one long sentence": SOUND.replace(". ", ", and ").rstrip(".") + ".",
    "a list": "- Rain is wet.\n- Rain falls from clouds.\n- Plants drink the rain.\n- You can splash in its puddles.",
    "cut off": SOUND.rsplit(" ", 6)[0],
    "another topic": SOUND.replace("rain", "snow"),
    "an adult": ADULT,
    "no end": SOUND
    + " Then the sun comes out again. It dries the ground. The birds sing. You can go out and play. Put on your boots.",
}


def judge(text: str, *, ended: bool = True, topic: str = "rain") -> Judgement:
    return SimulatedJudge().score(RAIN, text, ended=ended, topic=topic)


def test_a_sound_answer_has_every_part_but_a_graded_plainness() -> None:
    value, parts = judge(SOUND)
    assert {name: parts[name] for name in ("sentences", "ends", "topic", "length", "fresh")} == pytest.approx(
        dict.fromkeys(("sentences", "ends", "topic", "length", "fresh"), 1.0)
    )
    assert value == pytest.approx(0.5 * parts["plain"] + 0.5)
    assert 0.75 < parts["plain"] < 0.97  # head-room is left above a good text


@pytest.mark.parametrize("cheat", CHEATS)
def test_each_cheat_loses_clearly_to_a_sound_answer(cheat: str) -> None:
    ended = cheat not in ("cut off", "no end")  # these two stopped at the limit
    assert judge(CHEATS[cheat], ended=ended).value < judge(SOUND).value - 0.1


def test_the_worst_are_near_nothing() -> None:
    assert judge("").value == judge(" \n ").value == 0.0
    for name in ("one word repeated", "three words", "exclamations", "prompt copied", "prompt copied often"):
        assert judge(CHEATS[name]).value < 0.15, name
    assert judge(ADULT).value < judge(SOUND).value - 0.4


def test_every_demonstration_beats_every_degenerate_text() -> None:
    best = max(
        judge(CHEATS[name]).value for name in ("salad", "salad on the topic", "short and repeated", "the same start")
    )
    scores = [
        SimulatedJudge().score(d.prompt, d.answer, ended=True, topic=topic_of(d.prompt)).value for d in demonstrations()
    ]
    assert mean(scores) > 0.85
    assert min(scores) > best


def test_value_is_the_weighted_sum_times_the_two_factors() -> None:
    weights = JudgeWeights(plain=0.4, sentences=0.3, ends=0.2, topic=0.1)
    value, parts = SimulatedJudge(weights).score(RAIN, CHEATS["salad"], ended=True, topic="rain")
    merit = 0.4 * parts["plain"] + 0.3 * parts["sentences"] + 0.2 * parts["ends"] + 0.1 * parts["topic"]
    assert value == pytest.approx(merit * parts["length"] * parts["fresh"], rel=1e-12)


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="a sum of 1"):
        JudgeWeights(plain=0.9)
    with pytest.raises(ConfigError, match="none below 0"):
        JudgeWeights(plain=0.7, ends=-0.1)


def test_ending_counts_a_tenth() -> None:
    assert judge(SOUND).value - judge(SOUND, ended=False).value == pytest.approx(0.10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is wet. It is cold.", 1.0),
        ("It is wet.", 0.75),  # one too few
        ("It is wet. It is cold. It is so.", 1.0),
        (" ".join(["It is wet."] * 6), 0.5),  # two too many
        ("It is wet. It is", 0.1875),  # one whole of two pieces: 0.75 * (1/2)^2
        ("it is wet. It is cold.", 0.1875),  # no capital
        ("Wet! It is cold.", 0.1875),  # one word is no sentence
        ("1. It is wet.\nIt is cold.\nIt is so.", 0.5625),  # the number is a piece, and not a whole one: (3/4)^2
        ('He said "It is wet." Then he ran.', 1.0),
    ],
)
def test_sentences(text: str, expected: float) -> None:
    assert judge(text).parts["sentences"] == expected


def test_whole_sentences_do_not_break_inside_a_number() -> None:
    assert whole_sentences("It is 3.5 miles long. We saw it!") == (2, 2)


@pytest.mark.parametrize(("words", "expected"), [(10, 0.25), (19, 0.9025), (20, 1.0), (70, 1.0), (140, 0.5)])
def test_length(words: int, expected: float) -> None:
    assert judge("word " * words).parts["length"] == pytest.approx(expected)


def test_plain_by_hand() -> None:
    # "The cat sat on the mat." 6 words, 17 letters + 1 stop: textstat counts characters without spaces, 18.
    # ARI = 4.71 * 18/6 + 0.5 * 6/1 - 21.43 = -4.30; all words are on the list.
    assert judge("The cat sat on the mat.").parts["plain"] == pytest.approx(
        math.sqrt(1 / (1 + math.exp((-4.30 - 6) / 2)))
    )
    # One of six words is off the list: exp(-(1/6) / 0.15); "zygotes" has 4 letters more than "cat".
    hard = math.exp(-(1 / 6) / 0.15) / (1 + math.exp((4.71 * 22 / 6 + 3 - 21.43 - 6) / 2))
    assert judge("The zygotes sat on the mat.").parts["plain"] == pytest.approx(math.sqrt(hard))


def test_the_topics_own_word_is_not_hard() -> None:
    text = "The volcanoes sat on the mat."
    assert judge(text, topic="a volcano").parts["plain"] > judge(text, topic="rain").parts["plain"]


def test_topic_is_a_share_and_forgives_endings() -> None:
    assert judge("It was raining.").parts["topic"] == 1.0
    assert judge("The sky is up there.", topic="why the sky is blue").parts["topic"] == 0.5
    assert judge("Something else.", topic="why we are as we are").parts["topic"] == 1.0


@pytest.mark.parametrize(
    "family",
    [
        "sky skies",
        "float floats floating floated",
        "run runs running",
        "swing swings swinging",
        "cry cries cried crying",
        "bus buses",
        "breathe breathing",
        "happy happily happier",
        "big bigger biggest",
        "king kings",
        "bee bees",
    ],
)
def test_a_family_has_one_stem(family: str) -> None:
    assert len({stem(word) for word in family.split()}) == 1


def test_content_stems_leave_function_words_out() -> None:
    assert content_stems("why the sky is blue") == {stem("sky"), stem("blue")}


def test_fresh_by_hand() -> None:
    # 9 words, 8 pairs of which 3 are distinct: (3/8 / 0.95)^2. Content: 3 distinct of 9, over 0.7.
    assert judge("dog cat cow " * 3).parts["fresh"] == pytest.approx((3 / 8 / 0.95) ** 2 * (3 / 9) / 0.7)


@given(st.text(max_size=300), st.booleans(), st.text(max_size=30))
def test_any_text_has_parts_and_a_value_between_0_and_1(text: str, ended: bool, topic: str) -> None:
    judgement = judge(text, ended=ended, topic=topic)
    assert 0.0 <= judgement.value <= 1.0
    assert all(0.0 <= part <= 1.0 for part in judgement.parts.values())
    assert judgement == judge(text, ended=ended, topic=topic)


def test_it_runs_without_a_network_and_with_an_empty_home(tmp_path: Path) -> None:
    script = f"""
import socket

def refuse(*args, **kwargs):
    raise SystemExit("the judge touched the network")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from backflip.lm.judge import SimulatedJudge
from backflip.records import Prompt
print(SimulatedJudge().score(Prompt.ask("Explain rain."), {SOUND!r}, ended=True, topic="rain").value)
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(tmp_path), "NLTK_DATA": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == judge(SOUND).value
    assert run.stderr == ""
    assert not list(tmp_path.iterdir())
