"""Names of shapes out of names of files."""

from hypothesis import given
from hypothesis import strategies as st

from shapeprior.datasets.mesh_source import shape_ids, without_suffix
from shapeprior.io.files import NAME


def test_ids_are_safe_and_unique() -> None:
    names = ["a b", "a", "a", "a_2", "a_b", "sub/.hid", "sub/-x", "ä/é.v1", "ä/日"]
    assert shape_ids(names) == ["a_b", "a", "a_2", "a_2_2", "a_b_2", "sub/_hid", "sub/_x", "_/_.v1", "_/_"]


def test_ids_that_differ_in_case_count_as_the_same() -> None:
    assert shape_ids(["Mug", "mug", "x/MUG"], taken=["x/mug"]) == ["Mug", "mug_2", "x/MUG_2"]


def test_taken_ids_are_not_given_again() -> None:
    assert shape_ids(["a", "a", "b"], taken=["a", "a_2", "c"]) == ["a_3", "a_4", "b"]


def test_many_of_one_name() -> None:
    ids = shape_ids(["x"] * 20_000)
    assert (ids[0], ids[1], ids[-1]) == ("x", "x_2", "x_20000")


def test_only_the_last_suffix_goes() -> None:
    names = ["a.obj", "v1.0/a.b.obj", "v1.0/a", "a", "b/.obj"]
    assert [without_suffix(name) for name in names] == ["a", "v1.0/a.b", "v1.0/a", "a", "b/.obj"]


@given(st.lists(st.text(st.sampled_from("aA./-_ \\\n\0é:*"), max_size=8), max_size=12))
def test_any_name_becomes_one_that_cannot_leave_the_folder(names: list[str]) -> None:
    ids = shape_ids(names)
    assert all(NAME.fullmatch(shape_id) and ".." not in shape_id.split("/") for shape_id in ids)
    assert len({shape_id.lower() for shape_id in ids}) == len(names)


def test_long_names_fit_file_systems() -> None:
    first, second = shape_ids(["é" * 300 + "/" + "x" * 300, "é" * 301 + "/" + "x" * 301])
    assert first != second
    assert max(len(part) for part in (first + "/" + second).split("/")) <= 210
