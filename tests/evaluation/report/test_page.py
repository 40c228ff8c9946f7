"""The page of a report: it needs no other file, runs no text from files, and tells what it leaves out."""

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.evaluation_example import EVIL, EVIL_REASON, write_evaluation
from helpers.html_page import Reader, read_page
from helpers.plain_geometry import sphere

from shapeprior.errors import ReportError
from shapeprior.evaluation.config import PRIOR_METHOD
from shapeprior.evaluation.report.document import ReportConfig, companions, pictured_rows, read_evaluation
from shapeprior.evaluation.report.page import embedded_json, write_report
from shapeprior.evaluation.report.scenes import MAX_ERROR, error_colors, pack_distances, pack_points, pack_surface

SMALL = ReportConfig(pictures=2, models=4, width=48, faces=400, points=60)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Reader]:
    folder = tmp_path_factory.mktemp("evaluation")
    document = write_evaluation(folder)
    return folder, document, read_page(write_report(folder, config=SMALL))


def test_the_page_asks_for_nothing(page: tuple[Path, dict[str, Any], Reader]) -> None:
    reader = page[2]
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "action", "poster", "srcset", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/webp;base64,", "#")), (tag, name, value)
    assert "@import" not in reader.texts["style"]
    assert "url(" not in reader.texts["style"]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?://", reader.texts["script"])
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_holds_the_figures_as_they_are(page: tuple[Path, dict[str, Any], Reader]) -> None:
    assert json.loads(page[2].texts["metrics"]) == page[1]


def test_names_and_reasons_are_text(page: tuple[Path, dict[str, Any], Reader]) -> None:
    folder, _, reader = page
    text = (folder / "report.html").read_text(encoding="utf-8")
    scripts = [attributes for tag, attributes in reader.tags if tag == "script"]
    assert len(scripts) == 4
    assert "pwned'</script>" not in text
    assert not [attributes for tag, attributes in reader.tags if "onerror" in attributes]
    assert EVIL in reader.shown
    assert EVIL_REASON in reader.shown


def test_the_first_card_is_the_failure(page: tuple[Path, dict[str, Any], Reader]) -> None:
    text = (page[0] / "report.html").read_text(encoding="utf-8")
    cards = re.findall(r'<article class="shape( failed)?">', text)
    assert cards == [" failed", " failed"]
    assert "2 of 6 results of the prior have pictures" in page[2].shown
    assert "Methods that were not run:" in page[2].shown
    assert "pip install 'shapeprior[poisson]'" in page[2].shown


@pytest.mark.slow
def test_the_viewer_gets_surfaces_and_their_distances(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    reader = read_page(write_report(tmp_path, config=ReportConfig(pictures=6, models=9, width=32, faces=700)))
    scenes = json.loads(reader.texts["scenes"])
    document = read_evaluation(tmp_path)
    assert len(scenes["rows"]) == 9
    for number, scene in scenes["rows"].items():
        row = document.rows[int(number)]
        assert (scene["mesh"], scene["truth"], scene["points"]) == (row.mesh, row.truth, row.observation)
        if row.mesh is None:
            assert scene["wrong"] is None
            continue
        # The distance of a point to a sphere of radius 0.9 is known.
        places = unpacked(scenes["surfaces"][row.mesh])
        distances = np.frombuffer(base64.b64decode(scene["wrong"]), np.uint8) / 255.0 * MAX_ERROR
        expected = np.minimum(np.abs(0.9 - np.linalg.norm(places, axis=1)), MAX_ERROR)
        assert distances == pytest.approx(expected, abs=0.02)


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(packed["vertices"]), "<u2").reshape(-1, 3)
    return np.array(packed["low"]) + packed["size"] * steps / 65535


def test_packed_surfaces_come_back() -> None:
    mesh = sphere(radius=0.7, subdivisions=2)
    packed = pack_surface(mesh)
    assert np.abs(unpacked(packed) - mesh.vertices).max() < 2e-5
    assert not packed["wide"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed["faces"]), "<u2").reshape(-1, 3), mesh.faces)
    assert np.abs(unpacked(pack_points(mesh.vertices[:5])) - mesh.vertices[:5]).max() < 2e-5
    values = np.frombuffer(base64.b64decode(pack_distances(np.array([0.0, MAX_ERROR / 2, 9.0]))), np.uint8)
    assert values.tolist() == [0, 128, 255]


def test_colours_of_distances_darken_all_the_way() -> None:
    colors = error_colors(np.linspace(0.0, 1.2 * MAX_ERROR, 50))
    lightness = colors**2.2 @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) <= 1e-12).all()
    assert lightness[0] > 5 * lightness[-1]


def test_embedded_json_ends_no_element_and_comes_back() -> None:
    for text in ("</script>", "<!--<script>", "]]>", "\u2028", "\ud800", "&lt;", "{{title}}"):
        embedded = embedded_json({text: [text]})
        assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", embedded)
        assert json.loads(embedded) == {text: [text]}


@pytest.mark.slow
def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    for name in "ab":
        write_evaluation(tmp_path / name)
        pages.append(write_report(tmp_path / name, config=SMALL).read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_thousands_of_rows_fit_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    rows = [
        {**copy.deepcopy(document["rows"][place % 18]), "id": f"egg/{place}"} for place in range(3000)
    ]  # fmt: skip
    document = write_evaluation(tmp_path, rows=rows)
    config = ReportConfig(pictures=50, models=60, width=32, faces=100, points=20, max_bytes=1)
    path = write_report(tmp_path, config=config)
    reader = read_page(path)
    # The figures are always there; pictures only as far as there is room.
    assert json.loads(reader.texts["metrics"]) == document
    assert "0 of 1000 results of the prior have pictures" in reader.shown
    assert "50 more were chosen" in reader.shown
    assert path.stat().st_size < 8e6


def test_rows_with_pictures_are_the_worst_and_an_even_spread(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    first = document["rows"][0]
    rows = [
        {**first, "id": f"egg/{place}", "metrics": {"chamfer_l1": place / 100, "fscore_2": 0.5}} for place in range(40)
    ]
    write_evaluation(tmp_path, rows=rows, summary=[])
    found = [row.metrics["chamfer_l1"] for row in pictured_rows(read_evaluation(tmp_path), 8)]
    assert found[:4] == [0.39, 0.38, 0.37, 0.36]
    assert found[4:] == [0.27, 0.18, 0.09, 0.0]
    assert len(pictured_rows(read_evaluation(tmp_path), 100)) == 40
    assert pictured_rows(read_evaluation(tmp_path), 0) == []


def test_each_condition_has_its_share_of_the_pictures_and_other_methods_come_along(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    document = read_evaluation(tmp_path)
    chosen = pictured_rows(document, 4)
    assert sorted(row.condition for row in chosen) == ["1 view, sensor ideal"] * 2 + ["1 view, sensor noise 0.01"] * 2
    assert {row.method for row in chosen} == {PRIOR_METHOD}
    others = companions(document, chosen)
    assert len(others) == 8
    assert {(row.id, row.condition) for row in others} == {(row.id, row.condition) for row in chosen}


@pytest.mark.parametrize(
    "name",
    [
        "../outside.ply",
        "/etc/passwd",
        "meshes/../../outside.ply",
        "C:/x.ply",
        "meshes\\..\\..\\x",
        "link.ply",
        "",
        "meshes",
    ],
)
def test_meshes_outside_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "evaluation"
    write_evaluation(folder)
    (tmp_path / "outside.ply").write_text("secret")
    (folder / "link.ply").symlink_to(tmp_path / "outside.ply")
    assert read_evaluation(folder).path(name) is None


def test_missing_and_broken_meshes_are_named(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    rows = [row for row in document["rows"] if row["mesh"]][:2]
    (tmp_path / rows[0]["mesh"]).unlink()
    (tmp_path / "meshes" / "truth.ply").write_text("ply nonsense")
    write_evaluation_rows(tmp_path, document, rows)
    reader = read_page(write_report(tmp_path, config=SMALL))
    assert "Files that cannot be shown" in reader.shown
    assert f"{rows[0]['mesh']}: no such file" in reader.shown
    assert "truth.ply: the header is broken" in reader.shown


def write_evaluation_rows(folder: Path, document: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    (folder / "metrics.json").write_text(json.dumps({**document, "rows": rows}), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("rows"),
        lambda document: document.update(version=2),
        lambda document: document.update(rows=[1]),
        lambda document: document["rows"][0].update(id=3),
        lambda document: document["rows"][0].update(metrics=None),
        lambda document: document["rows"][0]["metrics"].update(chamfer_l1="0.1"),
        lambda document: document.update(definitions={}),
        lambda document: document["definitions"]["chamfer_l1"].update(better="more"),
        lambda document: document["summary"][0].pop("mean"),
        lambda document: document["methods"].update(x={"text": "x"}),
        lambda document: document.update(training={}),
        lambda document: document.update(training=[7]),
    ],
)
def test_a_broken_document_is_one_line(tmp_path: Path, change: Any) -> None:
    document = write_evaluation(tmp_path)
    change(document)
    (tmp_path / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ReportError, match="expected") as error:
        write_report(tmp_path)
    assert str(tmp_path / "metrics.json") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"version": NaN}', "[" * 100_000])
def test_what_is_no_document_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match="expected"):
        write_report(tmp_path)
