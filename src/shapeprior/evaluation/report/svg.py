"""Charts as inline SVG: scales, axes, and marks whose colours the page's style sheet gives by series."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4")
"""Strokes of the series, so that they can be told apart without colour."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values to pixels, straight or by logarithms."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, start: float, end: float, logarithmic: bool = False) -> "Scale":
        """The scale that shows all values."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        if high - low < 1e-12 * max(abs(low), abs(high), 1e-12):
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
            logarithmic = False
        return cls(low=low, high=high, start=start, end=end, logarithmic=logarithmic and low > 0.0)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values along the scale."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(decades) <= 3 else (1,)
            found = [factor * 10.0**decade for decade in decades for factor in factors]
        else:
            rough = (self.high - self.low) / count
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            found = [index * step for index in range(first, last + 1)]
        return [value for value in found if self.low * (1 - 1e-9) - 1e-12 <= value <= self.high * (1 + 1e-9) + 1e-12]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The box of a chart, in pixels, and its scales; the vertical one grows upwards."""

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
        """A frame around values, with so many pixels left free below its horizontal axis."""
        x = Scale.of(x_values, start=60.0, end=width - 12.0, logarithmic=logarithmic[0])
        y = Scale.of(y_values, start=height - 40.0 - below, end=10.0, logarithmic=logarithmic[1])
        return cls(x=x, y=y, width=width, height=height)

    def axes(self, x_label: str, y_label: str, *, x_ticks: Sequence[tuple[float, str]] | None = None) -> str:
        """Grid, ticks and labels."""
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
        """A polyline of a series."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        dash = DASHES[series % len(DASHES)]
        stroke = f' stroke-dasharray="{dash}"' if dash else ""
        return (
            f'<polyline class="series s{series % 8}"{stroke} points="{path}"><title>{escape(title)}</title></polyline>'
        )

    def dot(self, x: float, y_pixel: float, series: int, title: str, *, row: int | None = None) -> str:
        """A mark of a series; with `row`, a click opens that row."""
        link = "" if row is None else f' data-row="{row}"'
        return (
            f'<circle class="dot s{series % 8}" cx="{self.x(x):.1f}" cy="{y_pixel:.1f}" r="3.2"{link}>'
            f"<title>{escape(title)}</title></circle>"
        )

    def interval(self, x: float, low: float, high: float, series: int) -> str:
        """A vertical bar from `low` to `high`."""
        place = self.x(x)
        return (
            f'<line class="bar s{series % 8}" x1="{place:.1f}" x2="{place:.1f}" '
            f'y1="{self.y(low):.1f}" y2="{self.y(high):.1f}"/>'
        )

    def svg(self, title: str, *parts: str) -> str:
        """The whole chart, named for those who cannot see it."""
        return (
            f'<svg class="chart" viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(title)}">'
            + "".join(parts)
            + "</svg>"
        )


def number(value: float | None) -> str:
    """A number with three digits that count; a dash for none."""
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
    """A round number on an axis."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def figure(svg: str, caption: str) -> str:
    """A chart with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def legend(series: Sequence[tuple[int, str]]) -> str:
    """Which stroke is which series: number and name of each."""
    items = []
    for place, name in series:
        dash = DASHES[place % len(DASHES)]
        stroke = f' stroke-dasharray="{dash}"' if dash else ""
        items.append(
            '<li><svg viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">'
            f'<line class="series s{place % 8}"{stroke} x1="1" x2="27" y1="5" y2="5"/></svg>{escape(name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'
