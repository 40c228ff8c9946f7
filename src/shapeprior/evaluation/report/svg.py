"""Charts as inline SVG: scales, axes, and marks. The page's style sheet colours the marks by their series."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4")
"""Dash patterns of the series, so that lines can be told apart without colour."""
NUM_COLORS = 8
"""Colours of series in the style sheet; further series begin again with the first."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values to pixels, linearly or logarithmically."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, start: float, end: float, logarithmic: bool = False) -> "Scale":
        """Return the scale that reaches from the smallest to the largest value."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        if high - low < 1e-12 * max(abs(low), abs(high), 1e-12):
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
            logarithmic = False
        return cls(low=low, high=high, start=start, end=end, logarithmic=logarithmic and low > 0.0)

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values along the scale, about `count` of them on a linear one."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(decades) <= 3 else (1,)
            found = [factor * 10.0**decade for decade in decades for factor in factors]
        else:
            smallest_step = (self.high - self.low) / count
            unit = 10.0 ** math.floor(math.log10(smallest_step))
            step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= smallest_step * 0.999)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            found = [index * step for index in range(first, last + 1)]
        return [value for value in found if self.low * (1 - 1e-9) - 1e-12 <= value <= self.high * (1 + 1e-9) + 1e-12]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The box of a chart, in pixels, with its two scales. The vertical one grows upwards."""

    x: Scale
    y: Scale
    width: float
    height: float

    @classmethod
    def of(
        cls,
        x_values: Sequence[float],
        y_values: Sequence[float],
        *,
        width: float = 380.0,
        height: float = 230.0,
        below: float = 0.0,
        logarithmic: tuple[bool, bool] = (False, False),
    ) -> "Frame":
        """Return a frame around values. `below` are pixels to leave free between the horizontal axis and its labels."""
        x = Scale.of(x_values, start=60.0, end=width - 12.0, logarithmic=logarithmic[0])
        y = Scale.of(y_values, start=height - 40.0 - below, end=10.0, logarithmic=logarithmic[1])
        return cls(x=x, y=y, width=width, height=height)

    def axes(self, x_label: str, y_label: str, *, x_ticks: Sequence[tuple[float, str]] | None = None) -> str:
        """Return grid, ticks and labels. `x_ticks` are values and texts that replace the round values."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for value in self.y.ticks():
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>'
            )
        shown = [(value, tick_text(value)) for value in self.x.ticks()] if x_ticks is None else x_ticks
        for value, text in shown:
            x = self.x(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{escape(text)}</text>')
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle_x, middle_y = 0.5 * (left + right), 0.5 * (bottom + top)
        parts.append(
            f'<text class="label" x="{middle_x}" y="{bottom + 32}" text-anchor="middle">{escape(x_label)}</text>'
        )
        parts.append(
            f'<text class="label" x="12" y="{middle_y}" text-anchor="middle" '
            f'transform="rotate(-90 12 {middle_y})">{escape(y_label)}</text>'
        )
        return "".join(parts)

    def line(self, points: Sequence[tuple[float, float]], series: int, title: str) -> str:
        """Return the line of a series."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        stroke = _dash_attribute(series)
        return (
            f'<polyline class="series s{series % NUM_COLORS}"{stroke} points="{path}">'
            f"<title>{escape(title)}</title></polyline>"
        )

    def dot(self, x: float, y_pixel: float, series: int, title: str, *, row: int | None = None) -> str:
        """Return a dot of a series. With `row`, a click opens that row."""
        link = "" if row is None else f' data-row="{row}"'
        return (
            f'<circle class="dot s{series % NUM_COLORS}" cx="{self.x(x):.1f}" cy="{y_pixel:.1f}" r="3.2"{link}>'
            f"<title>{escape(title)}</title></circle>"
        )

    def interval(self, x: float, low: float, high: float, series: int) -> str:
        """Return a vertical bar from `low` to `high`."""
        place = self.x(x)
        return (
            f'<line class="bar s{series % NUM_COLORS}" x1="{place:.1f}" x2="{place:.1f}" '
            f'y1="{self.y(low):.1f}" y2="{self.y(high):.1f}"/>'
        )

    def svg(self, title: str, *parts: str) -> str:
        """Return the chart of some parts, with a title for screen readers."""
        return (
            f'<svg class="chart" viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(title)}">'
            + "".join(parts)
            + "</svg>"
        )


def number(value: float | None) -> str:
    """Return a number with three significant digits, or a dash for None and values that are not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0.0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}" if size < 1e6 else f"{value:.2g}"
    if size < 1e-4:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"


def tick_text(value: float) -> str:
    """Return the text of a round number on an axis."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def figure(svg: str, caption: str) -> str:
    """Return a chart with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def legend(series: Sequence[tuple[int, str]]) -> str:
    """Return a legend for series, given by number and name."""
    items = []
    for number_of_series, name in series:
        stroke = _dash_attribute(number_of_series)
        items.append(
            '<li><svg viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">'
            f'<line class="series s{number_of_series % NUM_COLORS}"{stroke} x1="1" x2="27" y1="5" y2="5"/>'
            f"</svg>{escape(name)}</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _dash_attribute(series: int) -> str:
    dash = DASHES[series % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""
