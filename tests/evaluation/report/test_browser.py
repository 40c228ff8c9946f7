"""The page in a browser: sorting, filtering and the 3D view work with mouse and keyboard, and the console stays
empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import Browser, browser_path
from helpers.evaluation_example import write_evaluation

from shapeprior.evaluation.report.document import ReportConfig
from shapeprior.evaluation.report.page import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium or Chrome is installed"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(folder)
    return write_report(folder, config=ReportConfig(pictures=6, models=18, width=48))


@pytest.fixture
def browser(page: Path) -> Iterator[Browser]:
    with Browser() as tab:
        tab.open(page)
        yield tab
        assert tab.problems == []
        assert tab.evaluate("document.title") == "Prior egg on data eggs"


def column(tab: Browser, place: int) -> list[str]:
    return tab.evaluate(
        f"[...document.querySelectorAll('#rows tbody tr')].map((row) => row.cells[{place}].textContent)"
    )


def choose(tab: Browser, name: str, value: str) -> None:
    tab.evaluate(
        f"{{ const item = document.getElementById('{name}'); item.value = {value!r}; "
        "item.dispatchEvent(new Event('input', { bubbles: true })); }"
    )


def click(tab: Browser, selector: str) -> None:
    tab.evaluate(f'{{ document.querySelector("{selector}").click(); }}')


def test_the_table_sorts_and_filters(browser: Browser) -> None:
    # The prior's rows are shown at first: failures, then the worst.
    assert set(column(browser, 1)) == {"shapeprior"}
    assert column(browser, 4) == ["2.00", "2.00", "0.180", "0.150", "0.0600", "0.0300"]
    assert browser.evaluate("document.querySelectorAll('#rows tbody tr.failed').length") == 2
    # Sorting by keyboard keeps the focus where it was.
    browser.evaluate("{ document.querySelector('#rows [data-key=\"metric:chamfer_l1\"]').focus(); }")
    browser.press("Enter", 13)
    browser.wait_for("document.querySelector('#rows th[aria-sort]').ariaSort === 'ascending'")
    assert column(browser, 4) == ["0.0300", "0.0600", "0.150", "0.180", "2.00", "2.00"]
    assert browser.evaluate("document.activeElement.dataset.key") == "metric:chamfer_l1"
    choose(browser, "filter-method", "")
    assert len(column(browser, 0)) == 18
    assert browser.evaluate("document.getElementById('count').textContent") == "18 of 18 results"
    choose(browser, "filter-condition", "=1 view, sensor noise 0.01")
    assert len(column(browser, 0)) == 9
    choose(browser, "filter-id", "GG/2")
    assert column(browser, 0) == ["egg/2"] * 3
    choose(browser, "filter-id", "")
    choose(browser, "filter-verdict", "doubtful")
    assert set(column(browser, 0)) == {"egg/2"}
    choose(browser, "filter-verdict", "")
    click(browser, "#filter-failures")
    assert len(column(browser, 0)) == 1
    click(browser, "#filter-failures")
    choose(browser, "filter-part", "seen")
    assert sorted(column(browser, 4))[:2] == ["0.0750", "0.0900"]


def test_a_result_opens_in_3d(browser: Browser) -> None:
    click(browser, ".shape:not(.failed) .open")
    assert browser.evaluate("document.getElementById('detail').open")
    assert browser.evaluate("document.getElementById('stage').hidden") is False
    browser.wait_for("document.getElementById('canvas').width > 100")
    plain = pixels(browser)
    assert plain["panes"] == 2
    assert plain["colors"] > 100
    browser.evaluate("{ document.getElementById('canvas').focus(); }")
    browser.press("ArrowLeft", 37)
    assert pixels(browser)["sum"] != plain["sum"]
    click(browser, "#show-errors")
    assert pixels(browser)["sum"] != plain["sum"]
    click(browser, "#show-beside")
    assert pixels(browser)["panes"] == 1
    choose(browser, "stage-method", browser.evaluate("document.getElementById('stage-method').options[1].value"))
    assert "mean shape" in browser.evaluate("document.getElementById('stage-names').textContent")
    click(browser, "#detail-next")
    browser.press("Escape", 27)
    browser.wait_for("!document.getElementById('detail').open")


def test_dots_and_failed_rows_open_too(browser: Browser) -> None:
    browser.evaluate(
        "{ document.querySelector('circle[data-row]').dispatchEvent(new MouseEvent('click', { bubbles: true })); }"
    )
    assert browser.evaluate("document.getElementById('detail').open")
    click(browser, "#detail-close")
    click(browser, "#rows tbody tr.failed button")
    assert "has 0 points" in browser.evaluate("document.getElementById('detail-failure').textContent")
    assert browser.evaluate("document.getElementById('detail-failure').hidden") is False


def test_narrow_screens_need_no_sideways_scrolling(browser: Browser, page: Path) -> None:
    browser.open(page, width=390, height=800, dark=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_webgl_the_page_says_so(page: Path) -> None:
    with Browser(extra_flags=("--disable-3d-apis",)) as tab:
        tab.open(page)
        click(tab, ".shape:not(.failed) .open")
        assert "no 3D" in tab.evaluate("document.getElementById('stage-message').textContent")
        assert tab.evaluate("document.getElementById('detail-picture').hidden") is False


def pixels(tab: Browser) -> dict[str, int]:
    """Return the number of panes, the number of colours, and a sum of the pixels, after the next frame."""
    return tab.evaluate(
        """new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.getElementById("canvas"), gl = canvas.getContext("webgl");
          const data = new Uint8Array(4 * canvas.width * canvas.height), colors = new Set();
          gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, data);
          let sum = 0;
          for (let i = 0; i < data.length; i += 4) {
            const color = 65536 * data[i] + 256 * data[i + 1] + data[i + 2];
            colors.add(color);
            sum = (31 * sum + color) % 1000000007;
          }
          done({ panes: Number(canvas.dataset.panes), colors: colors.size, sum });
        })))"""
    )
