"""A configuration survives dump and load, names what is wrong with it, and has one fingerprint per meaning."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.config import (
    LATER,
    NOT_FINGERPRINTED,
    differences,
    dump,
    fingerprint,
    from_dict,
    load,
    override,
    require,
)
from backflip.errors import ConfigError


@dataclass(frozen=True)
class Kl:
    target: float = 6.0
    kind: Literal["fixed", "adaptive"] = "adaptive"
    horizon: int | None = None


@dataclass(frozen=True)
class Example:
    model: Path
    out: Path = field(default=Path("runs/x"), metadata=NOT_FINGERPRINTED)
    lr: float = 1e-5
    steps: int = 10
    name: str = "x"
    merge: bool = True
    kl: Kl = Kl()
    second: Kl | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    rewards: tuple[str | Path, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", seen=self.lr, wanted="a number above 0")


finite = st.floats(allow_nan=False)
kls = st.builds(Kl, target=finite, kind=st.sampled_from(["fixed", "adaptive"]), horizon=st.none() | st.integers())
examples = st.builds(
    Example,
    model=st.sampled_from([Path("a"), Path("/b/c")]),
    out=st.sampled_from([Path("o"), Path("/p/q")]),
    lr=st.floats(min_value=1e-300, allow_nan=False),
    steps=st.integers(),
    name=st.text(),
    merge=st.booleans(),
    kl=kls,
    second=st.none() | kls,
    betas=st.tuples(finite, finite),
    rewards=st.lists(st.text()).map(tuple),
    weights=st.dictionaries(st.text(), finite),
)


@given(examples)
def test_dump_and_back_through_json_is_the_same(config: Example) -> None:
    text = json.dumps(dump(config), allow_nan=False)
    assert from_dict(Example, json.loads(text)) == config
    assert fingerprint(from_dict(Example, json.loads(text))) == fingerprint(config)


@given(examples, examples)
def test_fingerprints_are_equal_exactly_when_the_configs_are(a: Example, b: Example) -> None:
    same = replace(a, out=Path("same")) == replace(b, out=Path("same"))
    assert (fingerprint(a) == fingerprint(b)) == same


@given(examples)
def test_each_field_counts_and_the_output_folder_does_not(config: Example) -> None:
    print_of = fingerprint(config)
    assert fingerprint(replace(config, out=Path("elsewhere/entirely"))) == print_of
    assert fingerprint(replace(config, steps=config.steps + 1)) != print_of
    assert fingerprint(replace(config, name=config.name + ".")) != print_of
    assert fingerprint(replace(config, merge=not config.merge)) != print_of
    assert fingerprint(config, "answers up to 7") != print_of
    assert "out" not in dump(config, only_fingerprinted=True)
    assert len(print_of) == 64


@dataclass(frozen=True)
class _Grown(Kl):
    kind_of_decay: str = field(default="none", metadata=LATER)
    inner: Kl = field(default_factory=Kl, metadata=LATER)


def test_a_field_that_came_later_changes_no_earlier_fingerprint() -> None:
    assert fingerprint(_Grown(target=2.0)) == fingerprint(Kl(target=2.0))
    assert fingerprint(_Grown(kind_of_decay="linear")) != fingerprint(Kl())
    assert fingerprint(_Grown(inner=Kl(target=1.0))) != fingerprint(Kl())
    assert dump(_Grown())["inner"] == dump(Kl())  # it is told all the same


def test_a_whole_number_is_one_number_however_written() -> None:
    assert fingerprint(Kl(target=6)) == fingerprint(Kl(target=6.0))
    assert fingerprint(Kl(horizon=0)) != fingerprint(Kl(horizon=None))


def test_fingerprint_is_stable_across_versions() -> None:
    # sha256 of [{"horizon":null,"kind":"adaptive","target":6},"more"], made with sha256sum.
    assert fingerprint(Kl(), "more") == "f2e17744341c5148af72ff3e2608861f17a5558b3f35c40d73df0f355ce0f597"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": "m", "stesp": 3}, "unknown field 'stesp' of Example; did you mean steps"),
        ({"model": "m", "kl": {"tarjet": 3}}, "unknown field 'kl.tarjet' of Kl; did you mean target"),
        ({"model": "m", "qqqqqq": 3}, "wanted one of model, out, lr"),
        ({}, "model of Example is missing"),
        ({"model": 3}, "model is 3; wanted a path"),
        ({"model": "m", "steps": "ten"}, "steps is 'ten'; wanted a whole number"),
        ({"model": "m", "steps": True}, "steps is True; wanted a whole number"),
        ({"model": "m", "steps": 1.5}, "steps is 1.5; wanted a whole number"),
        ({"model": "m", "merge": 1}, "merge is 1; wanted true or false"),
        ({"model": "m", "lr": "fast"}, "lr is 'fast'; wanted a number"),
        ({"model": "m", "lr": -1.0}, "lr is -1.0; wanted a number above 0"),
        ({"model": "m", "lr": True}, "lr is True; wanted a number"),
        ({"model": "m", "kl": 3}, "kl is 3; wanted a mapping with the fields of Kl"),
        ({"model": "m", "kl": {"kind": "none"}}, "kl.kind is 'none'; wanted 'fixed' or 'adaptive'"),
        ({"model": "m", "second": {"horizon": "x"}}, "second.horizon is 'x'; wanted a whole number"),
        ({"model": "m", "betas": [0.9]}, r"betas is \[0.9\]; wanted a list of 2"),
        ({"model": "m", "betas": [0.9, "y"]}, r"betas\[1\] is 'y'; wanted a number"),
        ({"model": "m", "rewards": "one"}, "rewards is 'one'; wanted a list"),
        ({"model": "m", "rewards": [None]}, r"rewards\[0\] is None; wanted str or Path"),
        ({"model": "m", "weights": {"a": "b"}}, "weights.a is 'b'; wanted a number"),
        ({"model": "m", "weights": [1]}, r"weights is \[1\]; wanted a mapping"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Example, data)


def test_override_reaches_in_and_leaves_the_original() -> None:
    before = Example(model=Path("m"))
    after = override(before, model="n", steps=3, betas=[0, 1], **{"kl.target": 2, "kl.kind": "fixed"})
    assert after == Example(model=Path("n"), steps=3, betas=(0.0, 1.0), kl=Kl(2.0, "fixed"))
    assert before == Example(model=Path("m"))
    assert override(before, second=Kl(1.0), **{"second.horizon": 9}).second == Kl(1.0, horizon=9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 3}, "unknown field 'step' of Example; did you mean steps"),
        ({"kl.tarjet": 3}, "unknown field 'kl.tarjet' of Kl"),
        ({"kl.target": "x"}, "kl.target is 'x'"),
        ({"second.target": 1.0}, "second is None; wanted a group of fields"),
        ({"lr": 0}, "lr is 0.0; wanted a number above 0"),
    ],
)
def test_override_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(Example(model=Path("m")), **changes)


def test_load_reads_json_and_toml(tmp_path: Path) -> None:
    wanted = Example(model=Path("m"), steps=3, kl=Kl(target=2.0))
    (tmp_path / "c.json").write_text(json.dumps(dump(wanted)))
    (tmp_path / "c.toml").write_text('model = "m"\nsteps = 3\n[kl]\ntarget = 2\n')
    assert load(Example, tmp_path / "c.json") == wanted
    assert load(Example, str(tmp_path / "c.toml")) == wanted


@pytest.mark.parametrize("text", ["{", "[1]", '{"model": "m", "stesp": 1}', "\udc80"])
def test_load_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"c\.json"):
        load(Example, path)
    with pytest.raises(ConfigError, match=r"none\.json: No such file"):
        load(Example, tmp_path / "none.json")


def test_dump_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ConfigError, match=r"kl\.target is nan"):
        dump(Example(model=Path("m"), kl=Kl(target=math.nan)))
    with pytest.raises(ConfigError, match="name is <object"):
        dump(Example(model=Path("m"), name=object()))  # type: ignore[arg-type]
    assert dump(Kl(target=math.inf))["target"] == "inf"


def test_a_field_that_config_cannot_read_is_a_bug_not_a_config_error() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: bytes = b""

    with pytest.raises(TypeError, match="value is declared <class 'bytes'>"):
        override(Odd(), value=b"x")


def test_differences_name_fields_by_their_path() -> None:
    a, b = dump(Example(model=Path("m"))), dump(Example(model=Path("m"), steps=3, kl=Kl(kind="fixed")))
    assert differences(a, b) == {"kl.kind": ("adaptive", "fixed"), "steps": (10, 3)}
    assert differences({"a": 1.0}, {"a": 1, "b": 2}) == {"b": (None, 2)}
