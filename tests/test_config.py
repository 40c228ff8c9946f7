"""Settings as JSON: every value comes back, and keys and values that do not fit are named."""

import json
import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapeprior.config import check_numbers, config_from_json, config_to_json
from shapeprior.datasets.prepare_mesh import PrepareConfig
from shapeprior.errors import ConfigError
from shapeprior.models.presets import TrainConfig
from shapeprior.sdf.sampling import SamplingConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    count: int = 3
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"count = {self.count}; expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "a"
    flag: bool = True
    kind: Literal["y", "z"] = "y"
    limit: int | None = None
    sizes: tuple[float, ...] = (1.0, 2.0)
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()


WHERE = "run/config.json"
inners = st.builds(Inner, count=st.integers(0, 99), share=st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer,
    name=st.text(),
    flag=st.booleans(),
    kind=st.sampled_from(["y", "z"]),
    limit=st.none() | st.integers(),
    sizes=st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
    inner=inners,
    inners=st.lists(inners, max_size=2).map(tuple),
)


def plain(**changes: object) -> dict[str, object]:
    return {**config_to_json(Outer()), **changes}


@pytest.mark.slow
@given(config=outers)
@settings(max_examples=25, deadline=None)
def test_a_config_comes_back_from_json_text(config: Outer) -> None:
    assert config_from_json(Outer, json.loads(json.dumps(config_to_json(config))), where=WHERE) == config


@pytest.mark.parametrize("config", [PrepareConfig(), SamplingConfig(), TrainConfig()], ids=lambda c: type(c).__name__)
def test_the_packages_own_configs_come_back(config: object) -> None:
    text = json.dumps(config_to_json(config))
    assert config_from_json(type(config), json.loads(text), where=WHERE) == config


def test_the_json_is_plain() -> None:
    assert config_to_json(Outer(inners=(Inner(),))) == {
        "name": "a",
        "flag": True,
        "kind": "y",
        "limit": None,
        "sizes": [1.0, 2.0],
        "inner": {"count": 3, "share": 0.5},
        "inners": [{"count": 3, "share": 0.5}],
    }


def test_whole_numbers_are_read_as_floats_where_floats_belong() -> None:
    config = config_from_json(Outer, plain(sizes=[1, 2], inner={"count": 1, "share": 1}), where=WHERE)
    assert [type(value) for value in (*config.sizes, config.inner.share, config.inner.count)] == [float] * 3 + [int]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (plain(nmae="b"), "run/config.json: unknown key 'nmae'; did you mean 'name'?"),
        (
            plain(zzz=1),
            "run/config.json: unknown key 'zzz'; expected one of name, flag, kind, limit, sizes, inner, inners",
        ),
        (
            {key: value for key, value in plain().items() if key != "flag"},
            "run/config.json: no key 'flag'; expected all of name, flag, kind, limit, sizes, inner, inners",
        ),
        (plain(name=3), "run/config.json: name = 3; expected str"),
        (plain(flag=1), "run/config.json: flag = 1; expected bool"),
        (plain(limit=True), "run/config.json: limit = True; expected int"),
        (plain(limit=1.5), "run/config.json: limit = 1.5; expected int"),
        (plain(kind="x"), "run/config.json: kind = 'x'; expected one of 'y', 'z'"),
        (plain(kind=["y"]), "run/config.json: kind = ['y']; expected one of 'y', 'z'"),
        (plain(sizes=2.0), "run/config.json: sizes: found float; expected a list"),
        (plain(sizes=[1.0, "b"]), "run/config.json: sizes = 'b'; expected float"),
        (plain(sizes=[1.0, True]), "run/config.json: sizes = True; expected float"),
        (plain(inner=None), "run/config.json: inner: found NoneType; expected an object with the fields of Inner"),
        (plain(inner={"count": 1}), "run/config.json: inner: no key 'share'; expected all of count, share"),
        (
            plain(inner={"count": 1, "share": 0.5, "shrae": 1}),
            "run/config.json: inner: unknown key 'shrae'; did you mean 'share'?",
        ),
        (plain(inner={"count": "1", "share": 0.5}), "run/config.json: inner: count = '1'; expected int"),
        (plain(inner={"count": -1, "share": 0.5}), "run/config.json: inner: count = -1; expected 0 or more"),
        (plain(inners=[{"count": 1}]), "run/config.json: inners: no key 'share'; expected all of count, share"),
        ([], "run/config.json: found list; expected an object with the fields of Outer"),
        (None, "run/config.json: found NoneType; expected an object with the fields of Outer"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_json(Outer, value, where=WHERE)
    assert str(caught.value) == message


def test_what_the_config_itself_refuses_names_the_file() -> None:
    value = config_to_json(SamplingConfig()) | {"near": -1}
    with pytest.raises(ConfigError, match=r"^run/config\.json: near = -1 samples a shape; expected 0 or more$"):
        config_from_json(SamplingConfig, value, where=WHERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(plain())), value=JSON)
@settings(deadline=None)
def test_any_json_is_read_or_refused(key: str, value: object) -> None:
    try:
        config = config_from_json(Outer, plain(**{key: value}), where=WHERE)
    except ConfigError as error:
        message = str(error)
    else:
        message = f"{WHERE}: was read as {config}"
    assert message.startswith(WHERE)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    count: float = 1
    rate: float = 0.5
    weight: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self, at_least_one=("count",), positive=("rate",), not_negative=("weight",))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("count", 0, "at least 1"),
        ("count", math.nan, "at least 1"),
        ("rate", 0.0, "a positive, finite number"),
        ("rate", math.inf, "a positive, finite number"),
        ("rate", math.nan, "a positive, finite number"),
        ("weight", -1e-9, "0 or a positive, finite number"),
        ("weight", math.inf, "0 or a positive, finite number"),
    ],
)
def test_numbers_out_of_their_range_name_the_field(field: str, value: float, wanted: str) -> None:
    Numbers()
    with pytest.raises(ConfigError, match=f"^{field} = .*; expected {wanted}$"):
        Numbers(**{field: value})
