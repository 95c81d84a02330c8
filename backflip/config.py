"""Load, override, dump and fingerprint any frozen dataclass that configures something. Standard library only.

A configuration is a frozen dataclass whose fields are bool, int, float, str, `Path`, `Literal`, optional values,
tuples, mappings from str, and other such dataclasses. A field declared with `metadata=NOT_FINGERPRINTED` (an output
folder, how often to log) is dumped with the rest and left out of the fingerprint: it cannot change a number that the
run computes. One with `metadata=LATER` came later: at its default the fingerprint is what it was before it came.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from backflip.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "LATER",
    "NOT_FINGERPRINTED",
    "differences",
    "dump",
    "fingerprint",
    "from_dict",
    "load",
    "override",
    "require",
]

T = TypeVar("T", bound="DataclassInstance")

NOT_FINGERPRINTED: Final[Mapping[str, Any]] = types.MappingProxyType({"fingerprint": False})
LATER: Final[Mapping[str, Any]] = types.MappingProxyType({"fingerprint": "where it is not the default"})


def require(condition: bool, field: str, *, seen: object, wanted: str) -> None:
    """Raises ConfigError unless `condition` holds. For `__post_init__`:

    `require(self.lr > 0, "lr", seen=self.lr, wanted="a number above 0")`.
    """
    if not condition:
        _refuse(field, seen, wanted)


def dump(config: DataclassInstance, *, only_fingerprinted: bool = False) -> dict[str, Any]:
    """The configuration as JSON can hold it: paths are strings, tuples lists, dataclasses dicts, infinity "inf".

    `from_dict(type(config), dump(config)) == config`. Raises ConfigError at a NaN or at a value that JSON cannot hold.
    """
    return _encode_fields(config, "", everything=not only_fingerprinted)


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """The configuration that `dump` wrote, or that a person did: left-out fields take their defaults.

    Raises ConfigError at an unknown field, a field without default that is missing, or a value of another type.
    """
    return _decode_fields(cls, data, "")


def load(cls: type[T], path: Path | str) -> T:
    """`from_dict` of a .json or .toml file; raises ConfigError that names the file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        return from_dict(cls, data)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; wanted a readable .json or .toml file: check the path") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not well formed ({error}); wanted JSON or (.toml) TOML: mend it") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def override(config: T, **changes: Any) -> T:
    """A copy with some fields changed; `override(config, **{"kl.target": 6.0})` reaches into a nested dataclass.

    Raises ConfigError as `from_dict` does, and whatever the dataclass itself refuses.
    """
    return _override(config, changes, "")


def fingerprint(config: DataclassInstance, *extra: Any) -> str:
    """sha256 (64 hex characters) of the dump and of `extra` (JSON values), less the fields that cannot change a number.

    It does not depend on the order of fields or keys, nor on whether a whole number was written 1 or 1.0.
    """
    content = [dump(config, only_fingerprinted=True), *extra]
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted field -> (seen, wanted) wherever two dumps differ; a field that one side lacks is None there."""
    left, right = _flat(seen, ""), _flat(wanted, "")
    names = sorted(left.keys() | right.keys())
    return {n: (left.get(n), right.get(n)) for n in names if _canonical(left.get(n)) != _canonical(right.get(n))}


def _refuse(path: str, seen: object, wanted: str) -> NoReturn:
    raise ConfigError(f"{path} is {seen!r}; wanted {wanted}: change {path} in the configuration or on the command line")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _encode_fields(config: DataclassInstance, path: str, *, everything: bool) -> dict[str, Any]:
    return {
        f.name: _encode(getattr(config, f.name), _join(path, f.name), everything=everything)
        for f in dataclasses.fields(config)
        if everything or _counts(f, getattr(config, f.name))
    }


def _counts(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether the field enters the fingerprint."""
    if field.metadata.get("fingerprint") != LATER["fingerprint"]:
        return bool(field.metadata.get("fingerprint", True))
    make = field.default_factory
    return bool(value != (field.default if make is dataclasses.MISSING else make()))


def _encode(value: Any, path: str, *, everything: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value, path, everything=everything)
    if isinstance(value, Mapping):
        return {str(k): _encode(v, _join(path, str(k)), everything=everything) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v, f"{path}[{i}]", everything=everything) for i, v in enumerate(value)]
    if isinstance(value, Path):
        return value.as_posix()
    if type(value) is float and not math.isfinite(value):
        require(not math.isnan(value), path, seen=value, wanted="a number")
        return str(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    _refuse(path, value, "a bool, int, float, str, path, tuple, mapping or dataclass")


def _decode_fields(cls: type[T], data: Any, path: str) -> T:
    if not isinstance(data, Mapping):
        _refuse(path or cls.__name__, data, f"a mapping with the fields of {cls.__name__}")
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for name in data:
        _check_known(str(name), list(known), path, cls.__name__)
    for name, f in known.items():
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)} of {cls.__name__} is missing and has no default: give it a value")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _decode(hints[name], value, _join(path, name)) for name, value in data.items()})


def _check_known(name: str, known: list[str], path: str, owner: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else f"wanted one of {', '.join(known)}."
        raise ConfigError(f"unknown field {_join(path, name)!r} of {owner}; {advice} Rename it or leave it out")


def _decode(hint: Any, value: Any, path: str) -> Any:
    """The value as type `hint` wants it, be it read from JSON or already of that type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if not any(type(value) is type(a) and value == a for a in args):
            _refuse(path, value, " or ".join(repr(a) for a in args))
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(args, value, path)
    if origin is tuple:
        return _decode_tuple(args, value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            _refuse(path, value, "a mapping")
        return {str(k): _decode(args[1], v, _join(path, str(k))) for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _decode_fields(hint, value, path)
    return _decode_scalar(hint, value, path)


def _decode_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and types.NoneType in members:
        return None
    some = [m for m in members if m is not types.NoneType]
    if len(some) == 1:
        return _decode(some[0], value, path)
    for member in [m for m in some if type(value) is m] or some:
        try:
            return _decode(member, value, path)
        except ConfigError:
            continue
    _refuse(path, value, " or ".join(getattr(m, "__name__", str(m)) for m in members))


def _decode_tuple(members: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse(path, value, "a list")
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    require(len(value) == len(members), path, seen=value, wanted=f"a list of {len(members)}")
    return tuple(_decode(m, v, f"{path}[{i}]") for i, (m, v) in enumerate(zip(members, value, strict=True)))


def _decode_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and (type(value) in (int, float) or value in ("inf", "-inf")):
        return float(value)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a string",
        Path: "a path (a string)",
    }
    if hint in names:
        _refuse(path, value, names[hint])
    raise TypeError(f"field {path} is declared {hint!r}, which backflip.config does not read")


def _override(config: T, changes: Mapping[str, Any], path: str) -> T:
    hints, known = typing.get_type_hints(type(config)), [f.name for f in dataclasses.fields(config) if f.init]
    direct: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for dotted, value in changes.items():
        name, _, rest = dotted.partition(".")
        _check_known(name, known, path, type(config).__name__)
        if rest:
            nested.setdefault(name, {})[rest] = value
        else:
            direct[name] = _decode(hints[name], value, _join(path, name))
    for name, inner in nested.items():
        part = direct.get(name, getattr(config, name))
        if not dataclasses.is_dataclass(part) or isinstance(part, type):
            _refuse(_join(path, name), part, f"a group of fields, as {next(iter(inner))} is looked for in it")
        direct[name] = _override(part, inner, _join(path, name))
    return dataclasses.replace(config, **direct)


def _canonical(value: Any) -> Any:
    """1.0 and 1 are one number: a person writes either, and a dataclass keeps what was written."""
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return int(value) if type(value) is float and value.is_integer() else value


def _flat(data: Mapping[str, Any], path: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flat(value, _join(path, name)) if isinstance(value, Mapping) else {_join(path, name): value}
    return flat
