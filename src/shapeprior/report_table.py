"""The evaluation as a page of Markdown."""

from typing import Any


def markdown_report(document: dict[str, Any]) -> str:
    """Definitions, summary and one row a shape, the worst F-score first. `document` is what metrics.json holds."""
    names = list(document["definitions"])
    settings = document["settings"]
    counts = settings["metrics"]
    lines = [
        "# Completion of single depth views",
        "",
        f"{document['count']} shapes of split `{settings['split']}`, placement {settings['placement']}, "
        f"{document['failures']} failures (scored worst and included), "
        f"{settings['trained_shapes']} training shapes, seed {settings['seed']}, "
        f"median {document['median_seconds']:.2f} s from view to mesh.",
        "",
        f"Surfaces are compared on {counts['surface_points']:,} points each, volumes on {counts['volume_points']:,} points.",
        "",
        "| metric | mean | median | unit | definition |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for name in names:
        definition = document["definitions"][name]
        mean, median = document["mean"][name], document["median"][name]
        lines.append(f"| {name} | {mean:.4f} | {median:.4f} | {definition['unit']} | {definition['definition']} |")
    lines += ["", "| shape | " + " | ".join(names) + " | seconds | failure |"]
    lines.append("| --- |" + " ---: |" * (len(names) + 1) + " --- |")
    for row in sorted(document["rows"], key=lambda row: row["metrics"]["fscore_2"]):
        values = " | ".join(f"{row['metrics'][name]:.4f}" for name in names)
        lines.append(f"| {row['id']} | {values} | {row['seconds']:.2f} | {_cell(row['failure'] or '')} |")
    if document["refused"]:
        lines += ["", "Files that preparation refused:", ""]
        lines += [f"- {refusal['source']}: {refusal['reason']}" for refusal in document["refused"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that stays in one cell: bars and line breaks would end it."""
    return " ".join(text.split()).replace("|", "\\|")
