"""Settings as frozen dataclasses: conversion to plain JSON and back, and checks of their numbers.

Reading is strict: an unknown key, a missing key and a value of another type are errors that name the key.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from shapeprior.errors import ConfigError

T = TypeVar("T")


def config_to_json(config: Any) -> dict[str, Any]:
    """Return all fields of a (nested) config dataclass as plain JSON values; tuples become lists."""
    return {field.name: _to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_json(cls: type[T], value: object, *, where: str) -> T:
    """Build a config from plain JSON.

    Args:
        cls: The config's dataclass.
        value: A JSON object with all of its fields, and no others.
        where: The place that errors name first, such as a file. The keys that lead to the value follow.

    Raises:
        ConfigError: a key is unknown or missing, a value has another type, or the config itself refuses a value.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {_kind(value)}; expected an object with the fields of {cls.__name__}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    for key in value:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key '{key}'; {hint}")
    missing = [name for name in names if name not in value]
    if missing:
        raise ConfigError(f"{where}: no key '{missing[0]}'; expected all of {', '.join(names)}")
    fields = {name: _from_plain(hints[name], value[name], f"{where}: {name}") for name in names}
    try:
        return cls(**fields)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def check_numbers(
    config: object, *, at_least_one: Sequence[str] = (), positive: Sequence[str] = (), not_negative: Sequence[str] = ()
) -> None:
    """Check the ranges of a config's numbers, given as names of fields for each range.

    Raises ConfigError, naming the field, for a number outside its range. NaN is outside all of them.
    """
    for names, expected, is_valid in (
        (at_least_one, "at least 1", lambda number: number >= 1),
        (positive, "a positive, finite number", lambda number: 0 < number < math.inf),
        (not_negative, "0 or a positive, finite number", lambda number: 0 <= number < math.inf),
    ):
        for name in names:
            value = getattr(config, name)
            if not is_valid(value):
                raise ConfigError(f"{name} = {value}; expected {expected}")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_json(value)
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    return value


def _from_plain(hint: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return config_from_json(typing.cast(type, hint), value, where=where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} = {value!r}; expected one of {', '.join(map(repr, arguments))}")
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _from_plain(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: {_kind(value)}; expected a list")
        return tuple(_from_plain(arguments[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} = {value!r}; expected {hint.__name__}")
    return value


def _kind(value: object) -> str:
    return f"found {type(value).__name__}"
