"""The report's drawings, as inline SVG: no script, no network, every text escaped by markupsafe."""

import math
from typing import Any

from markupsafe import Markup, escape

WIDTH = 720


def histogram_svg(data: dict[str, Any]) -> Markup:
    """Dropped scores above the axis line in grey, kept ones in green, on a square-root scale: both stay visible."""
    height, base = 170, 140
    bins = len(data["kept"])
    wide = WIDTH / bins
    top = max(*data["kept"], *data["dropped"], 1) ** 0.5
    bars = []
    for name, counts, shift in (("dropped", data["dropped"], 0.0), ("kept", data["kept"], wide / 2)):
        for number, count in enumerate(counts):
            if count:
                tall = max(1.0, (count**0.5) / top * (base - 10))
                low = data["low"] + (data["high"] - data["low"]) * number / bins
                bars.append(
                    f'<rect class="{name}" x="{number * wide + shift:.1f}" y="{base - tall:.1f}" '
                    f'width="{wide / 2 - 0.6:.1f}" height="{tall:.1f}">'
                    f"<title>{count:,} {name}, score from {low:.4g}</title></rect>"
                )
    ticks = []
    for part in range(5):
        value = data["low"] + (data["high"] - data["low"]) * part / 4
        anchor = ("start", "middle", "middle", "middle", "end")[part]
        ticks.append(f'<text x="{WIDTH * part / 4:.0f}" y="{base + 18}" text-anchor="{anchor}">{value:.3g}</text>')
    axis = f'<line x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/>'
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{axis}{"".join(bars)}{"".join(ticks)}</svg>')


def rate_svg(group: dict[str, Any], most: float) -> Markup:
    """A rate as a dot with its 95% interval as a thin line, on a scale from 0 to `most`; hollow where the interval is
    wider than half of the scale, for then the dot tells little. `fair`, if there is one, is marked on the scale."""
    wide, middle = 220, 9

    def x(rate: float) -> float:
        return 6 + min(1.0, rate / most) * (wide - 12) if most else 6.0

    low, high, rate = x(group["low"]), x(group["high"]), x(group["rate"])
    unsure = " unsure" if group["high"] - group["low"] > most / 2 else ""
    fair = x(group["fair"]) if "fair" in group else None
    mark = "" if fair is None else f'<line class="fair" x1="{fair:.1f}" x2="{fair:.1f}" y1="1" y2="17"/>'
    return Markup(
        f'<svg class="rate" viewBox="0 0 {wide} 18"><rect class="track" x="6" width="{wide - 12}" height="2" y="8"/>'
        f"{mark}"
        f'<line class="interval" x1="{low:.1f}" x2="{max(high, low + 1):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="dot{unsure}" cx="{rate:.1f}" cy="{middle}" r="4"/></svg>'
    )


def scale_of(rates: list[float]) -> float:
    """The end of a common scale from 0: the next of 1, 2, 5, 10, ... per cent that no rate exceeds."""
    steps = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    most = max(rates, default=1.0)
    return next((step for step in steps if most <= step), 1.0)


COLOURS = ("#1a7f5a", "#2f6fb0", "#b3541e", "#7a4fa3", "#8a7a1c", "#b03060", "#4a5a6a", "#2a9d9d", "#996633", "#555599")


def recall_svg(curves: list[tuple[str, list[list[float]]]], marks: list[tuple[str, float]]) -> Markup:
    """Recall by how many are chosen, on a logarithmic scale: a line a selection, of a single one with its interval;
    `marks` are budgets to point at."""
    height, left, base, top = 256, 44, 216, 20
    most = max((points[-1][0] for _, points in curves if points), default=1)

    def x(chosen: float) -> float:
        return left + math.log(max(1.0, chosen)) / math.log(max(2.0, most)) * (WIDTH - left - 12)

    def y(share: float) -> float:
        return base - share * (base - top)

    parts = [f'<line x1="{left}" x2="{WIDTH - 12}" y1="{y(part):.1f}" y2="{y(part):.1f}"/>' for part in (0, 0.5, 1)]
    parts += [f'<text x="{left - 8}" y="{y(p) + 4:.1f}" text-anchor="end">{p:.0%}</text>' for p in (0, 0.5, 1)]
    for power in range(int(math.log10(max(1.0, most))) + 1):
        parts.append(f'<text x="{x(10**power):.1f}" y="{base + 18}" text-anchor="middle">{10**power:,}</text>')
    if len(curves) == 1:
        points = curves[0][1]
        edge = [f"{x(n):.1f},{y(low):.1f}" for n, _, low, _ in points]
        edge += [f"{x(n):.1f},{y(high):.1f}" for n, _, _, high in reversed(points)]
        parts.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
    for number, (name, points) in enumerate(curves):
        line = " ".join(f"{x(n):.1f},{y(share):.1f}" for n, share, *_ in points)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline stroke="{colour}" points="{line}"><title>{escape(name)}</title></polyline>')
    for name, chosen in marks:
        near_end = x(chosen) > WIDTH - 160
        place, anchor = (x(chosen) - 6, "end") if near_end else (x(chosen) + 6, "start")
        parts.append(f'<line class="mark" x1="{x(chosen):.1f}" x2="{x(chosen):.1f}" y1="{top}" y2="{base}"/>')
        parts.append(f'<text class="name" x="{place:.1f}" y="{top - 6}" text-anchor="{anchor}">{escape(name)}</text>')
    legend = "".join(
        f'<i style="background: {COLOURS[number % len(COLOURS)]}"></i>{escape(name)}'
        for number, (name, _) in enumerate(curves)
        if len(curves) > 1
    )
    drawn = f'<svg class="recall" viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
    return Markup(drawn + (f'<p class="legend">{legend}</p>' if legend else ""))


def lines_svg(curves: dict[str, list[tuple[float, float]]], form: str) -> Markup:
    """Values by how many times as much, on a logarithmic scale: a line and its points for each name."""
    height, left, base, top = 240, 60, 200, 16
    every = [point for points in curves.values() for point in points]
    first, last = min(n for n, _ in every), max(n for n, _ in every)
    low, high = min(value for _, value in every), max(value for _, value in every)

    def x(times: float) -> float:
        share = math.log(times / first) / math.log(last / first) if last > first else 0.5
        return left + 12 + share * (WIDTH - left - 36)

    def y(value: float) -> float:
        return base - ((value - low) / (high - low) if high > low else 0.5) * (base - top)

    parts = [f'<line x1="{left}" x2="{WIDTH - 12}" y1="{y(part):.1f}" y2="{y(part):.1f}"/>' for part in (low, high)]
    parts += [
        f'<text x="{left - 8}" y="{y(part) + 4:.1f}" text-anchor="end">{form.format(part)}</text>'
        for part in sorted({low, high})
    ]
    parts += [
        f'<text x="{x(times):.1f}" y="{base + 22}" text-anchor="middle">x{times:g}</text>'
        for times in sorted({n for n, _ in every})
    ]
    for number, (name, points) in enumerate(curves.items()):
        colour, line = COLOURS[number % len(COLOURS)], " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in points)
        parts.append(f'<polyline stroke="{colour}" points="{line}"><title>{escape(name)}</title></polyline>')
        parts += [f'<circle fill="{colour}" r="3.5" cx="{x(n):.1f}" cy="{y(value):.1f}"/>' for n, value in points]
    legend = "".join(
        f'<i style="background: {COLOURS[number % len(COLOURS)]}"></i>{escape(name)}'
        for number, name in enumerate(curves)
    )
    drawn = f'<svg class="recall" viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
    return Markup(drawn + f'<p class="legend">{legend}</p>')


def map_svg(kept: list[list[float]], dropped: list[list[float]]) -> Markup:
    """Points from 0 to 1 in two dimensions: dropped ones below, kept ones above them."""
    wide, height = WIDTH, 380
    dots = []
    for name, points, size in (("dropped", dropped, 2.2), ("kept", kept, 2.6)):
        marks = "".join(f"M{8 + x * (wide - 16):.0f} {8 + (1 - y) * (height - 16):.0f}h0" for x, y in points)
        dots.append(f'<path class="{name}" d="{marks}" stroke-width="{2 * size}"/>')
    return Markup(f'<svg class="map" viewBox="0 0 {wide} {height}" role="img">{"".join(dots)}</svg>')


def curve_svg(points: list[list[float]]) -> Markup:
    """The loss of a training over its tokens, with the first and the last value."""
    wide, height = 320, 64
    if len(points) < 2:
        return Markup("")
    high, low = max(loss for _, loss in points), min(loss for _, loss in points)
    scale = (height - 12) / (high - low) if high > low else 0.0
    line = " ".join(f"{tokens / points[-1][0] * wide:.1f},{6 + (high - loss) * scale:.1f}" for tokens, loss in points)
    ends = f"{points[0][1]:.3f} to {points[-1][1]:.3f} nats over {points[-1][0]:,} tokens"
    return Markup(
        f'<svg class="curve" viewBox="0 0 {wide} {height}" role="img"><title>{ends}</title>'
        f'<polyline points="{line}"/></svg> <span class="hint">loss {ends}</span>'
    )
