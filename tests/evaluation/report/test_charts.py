"""Tables and charts of a report, against values counted by hand."""

import re
from pathlib import Path

import pytest
from helpers.evaluation_example import EVIL, write_evaluation

from shapeprior.evaluation.report.charts import condition_charts, distribution_charts, training_charts
from shapeprior.evaluation.report.document import read_evaluation
from shapeprior.evaluation.report.summary import headline, summary_tables
from shapeprior.evaluation.report.svg import Frame, Scale, number


def test_scales_reach_from_end_to_end() -> None:
    scale = Scale.of([1.0, 5.0], start=10.0, end=110.0)
    assert [scale(1.0), scale(3.0), scale(5.0)] == [10.0, 60.0, 110.0]
    logarithmic = Scale.of([0.01, 1.0], start=0.0, end=100.0, logarithmic=True)
    assert [logarithmic(0.01), logarithmic(0.1), logarithmic(1.0)] == pytest.approx([0.0, 50.0, 100.0])
    assert logarithmic.ticks() == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])


def test_ticks_are_few_and_within_the_scale() -> None:
    for values in ([0.0, 1.0], [-3.0, 8.0], [1e-7, 2e-7], [5.0], [0.0], [], [2.0, 8000.0]):
        scale = Scale.of(values, start=0.0, end=1.0)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 11, values
        assert min(ticks) >= scale.low - 1e-9 * abs(scale.low) - 1e-12, values
        assert max(ticks) <= scale.high + 1e-9 * abs(scale.high) + 1e-12, values


def test_numbers_have_three_significant_digits() -> None:
    values = [0.0, 0.12345, 0.0212, 0.5, 12.345, 123.4, 8000.0, 1e-6, None, float("nan"), -0.25, 1.0]
    texts = ["0", "0.123", "0.0212", "0.500", "12.3", "123", "8,000", "1.0e-06", "–", "–", "-0.250", "1.00"]
    assert [number(value) for value in values] == texts


def test_curves_step_at_each_result_and_failures_keep_them_below_one(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    first = document["rows"][0]
    rows = [{**first, "id": f"egg/{place}", "metrics": {"chamfer_l1": place + 1.0}} for place in range(3)]
    rows.append({**first, "id": "bad", "metrics": {"chamfer_l1": 2000.0}, "failure": "no surface"})
    write_evaluation(tmp_path, rows=rows, summary=[])
    chart = distribution_charts(read_evaluation(tmp_path))
    lines = re.search(r'<polyline[^>]* points="([^"]*)"><title>shapeprior', chart)
    assert lines is not None
    points = [tuple(map(float, pair.split(","))) for pair in lines[1].split()]
    frame = Frame.of([1.0, 2.0, 3.0], (0.0, 1.0), height=243.0, below=17.0)
    shares = [(frame.y.start - y) / (frame.y.start - frame.y.end) for _, y in points]
    assert shares == pytest.approx([0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75], abs=1e-3)
    assert [x for x, _ in points] == pytest.approx(
        [frame.x(float(value)) for value in (1, 1, 1, 2, 2, 3, 3, 3)], abs=0.06
    )
    # Each result has a dot, and the failure has none.
    assert re.findall(r'data-row="(\d+)"', chart) == ["0", "1", "2"]


def test_higher_is_better_counts_from_the_other_end(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    first = document["rows"][0]
    rows = [{**first, "id": f"egg/{place}", "metrics": {"fscore_2": value}} for place, value in enumerate((0.2, 0.8))]
    write_evaluation(tmp_path, rows=rows, summary=[])
    chart = distribution_charts(read_evaluation(tmp_path))
    lines = re.search(r'<polyline[^>]* points="([^"]*)"><title>shapeprior', chart)
    assert lines is not None
    ys = [float(pair.split(",")[1]) for pair in lines[1].split()]
    # All results are at least as good as the worst one, and half of them as good as the best one.
    assert ys[0] == min(ys)
    assert ys == sorted(ys)


RATIO = {"text": "predicted over true thickness", "better": "one", "worst": 5.0, "unit": "ratio"}


def test_where_one_is_best_a_curve_counts_both_sides(tmp_path: Path) -> None:
    first, values = write_evaluation(tmp_path)["rows"][0], (0.5, 0.9, 1.2)
    rows = [{**first, "id": f"egg/{value}", "metrics": {"thickness": value}} for value in values]
    write_evaluation(tmp_path, rows=rows, summary=[], definitions={"thickness": RATIO})
    chart = distribution_charts(read_evaluation(tmp_path))
    assert "closer to 1 is better" in chart
    lines = re.search(r'<polyline[^>]* points="([^"]*)"><title>shapeprior', chart)
    assert lines is not None
    frame = Frame.of(values, (0.0, 1.0), height=243.0, below=17.0)
    for x, y in (map(float, pair.split(",")) for pair in lines[1].split()):
        value = 0.5 + 0.7 * (x - frame.x(0.5)) / (frame.x(1.2) - frame.x(0.5))
        as_good = sum(abs(other - 1.0) <= abs(value - 1.0) + 2e-3 for other in values) / 3
        assert (frame.y.start - y) / (frame.y.start - frame.y.end) == pytest.approx(as_good, abs=1e-3)


def test_where_one_is_best_the_best_is_the_closest_to_it(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    for cell in document["summary"]:
        if cell["metric"] == "chamfer_l1":
            cell.update(mean={"shapeprior": 1.3, "mean shape": 0.8, "upper bound": 1.0}[cell["method"]])
    definitions = {**document["definitions"], "chamfer_l1": RATIO}
    write_evaluation(tmp_path, summary=document["summary"], definitions=definitions)
    evaluation = read_evaluation(tmp_path)
    best = re.findall(r'class="n best"[^>]*><b>([^<]*)</b>', summary_tables(evaluation).split("</table>")[0])
    assert best[0] == "0.800"
    assert "chamfer_l1 → 1" in headline(evaluation)
    assert "best other: 0.800, mean shape" in headline(evaluation)


def test_one_curve_over_the_sensors_for_each_method_and_metric(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    chart = condition_charts(read_evaluation(tmp_path))
    assert chart.count("<polyline") == 2 * 3
    assert chart.count("<details") == 1
    assert "over sensor" in chart
    assert "over views" not in chart


def test_training_has_a_chart_over_epochs_and_one_over_seconds(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    charts = training_charts(document["training"])
    assert charts.count("<polyline") == 6
    assert "loss over seconds: 0.0200 at the end" in charts
    assert training_charts([]) == ""
    assert training_charts([{"epoch": 1}, {"epoch": None, "loss": 3}]) == ""


def test_the_best_is_bold_and_a_method_that_knows_the_truth_is_not_compared(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    for cell in document["summary"]:
        if cell["method"] == "upper bound" and cell["metric"] == "chamfer_l1":
            cell.update(mean=0.001, low=0.001, high=0.001)
    write_evaluation(tmp_path, summary=document["summary"])
    evaluation = read_evaluation(tmp_path)
    tables = summary_tables(evaluation)
    means = {
        (cell.method, cell.metric): cell.mean
        for cell in evaluation.summary
        if cell.condition == evaluation.groups[0][1]
    }
    first = tables.split("</table>")[0]
    assert re.findall(r'class="n best"[^>]*><b>([^<]*)</b>', first) == [
        number(min(means["shapeprior", "chamfer_l1"], means["mean shape", "chamfer_l1"])),  # pyright: ignore
        number(max(means["shapeprior", "fscore_2"], means["mean shape", "fscore_2"])),  # pyright: ignore
    ]
    assert re.findall(r'class="n failed">([^<]*)<', first) == ["1 of 3"]
    assert "2 of its 6 results under all conditions failed" in headline(evaluation)


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    document = write_evaluation(tmp_path)
    for row in (*document["rows"], *document["summary"]):
        row["method"] = EVIL if row["method"] == "mean shape" else row["method"]
        row["condition"] = {"sensor": EVIL, "views": row["condition"]["sensor"]}
    document["methods"][EVIL] = document["methods"].pop("mean shape")
    write_evaluation(tmp_path, **document)
    evaluation = read_evaluation(tmp_path)
    for part in (headline, summary_tables, distribution_charts, condition_charts):
        assert "<script" not in part(evaluation)
        assert "&lt;script" in part(evaluation)
