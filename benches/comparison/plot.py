"""The plot in docs/PERFORMANCE.md: a dot for each server on a logarithmic axis, a line from minimum to maximum."""

import math
from xml.sax.saxutils import escape

from .figures import OURS, Spread, number

WIDTH, PANEL_WIDTH, ROW, HEAD, FOOT, NAMES = 760, 380, 22, 40, 34, 84
STYLE = """
    .back { fill: #ffffff } .grid { stroke: #e3e5e8 } .title { fill: #1b1f24; font-weight: 600 }
    text { fill: #57606a; font: 12px system-ui, sans-serif } .ours { fill: #0a6e5c; font-weight: 600 }
    .dot { fill: #8a929c } .range { stroke: #8a929c; stroke-width: 2 }
    .dot.ours { fill: #0a8f76 } .range.ours { stroke: #0a8f76 }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117 } .grid { stroke: #2b313a } .title { fill: #e6edf3 }
      text { fill: #9aa4af } .ours { fill: #4bd3b5 } .dot { fill: #77818d } .range { stroke: #77818d }
      .dot.ours { fill: #4bd3b5 } .range.ours { stroke: #4bd3b5 }
    }
"""


def svg(figures):
    """The figures as panels, two in a row. A value of 0 has no place on the axis and is left out."""
    rows = max(len(figure.values) for figure in figures)
    panel_height = HEAD + rows * ROW + FOOT
    height = panel_height * math.ceil(len(figures) / 2)
    parts = [panel(figure, (at % 2) * PANEL_WIDTH, at // 2 * panel_height) for at, figure in enumerate(figures)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">\n'
        f"  <title>hospital beside other servers: less is better</title>\n  <style>{STYLE}  </style>\n"
        f'  <rect class="back" width="{WIDTH}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def panel(figure, left, top):
    spreads = {name: Spread.of(values) for name, values in figure.values.items() if min(values) > 0}
    low = math.floor(math.log10(min(spread.least for spread in spreads.values())))
    high = math.ceil(math.log10(max(spread.most for spread in spreads.values())))
    start, end = left + NAMES, left + PANEL_WIDTH - 56
    bottom = top + HEAD + len(spreads) * ROW

    def place(value):
        return start + (math.log10(value) - low) / max(high - low, 1) * (end - start)

    title = escape(f"{figure.title}, {figure.unit}".replace("`", ""))
    lines = [f'<text class="title" x="{left + 12}" y="{top + 22}">{title}</text>']
    for decade in range(low, high + 1):
        x = place(10**decade)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 6}" y2="{bottom}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**decade:,g}</text>')
    for at, (name, spread) in enumerate(spreads.items()):
        y = top + HEAD + at * ROW + 8
        least, median, most = place(spread.least), place(spread.median), place(spread.most)
        ours = " ours" if name == OURS else ""
        lines += [
            f'<text class="{ours.strip()}" x="{start - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<line class="range{ours}" x1="{least:.1f}" x2="{most:.1f}" y1="{y}" y2="{y}"/>',
            f'<circle class="dot{ours}" cx="{median:.1f}" cy="{y}" r="4.5"/>',
            f'<text class="{ours.strip()}" x="{most + 9:.1f}" y="{y + 4}">{number(spread.median)}</text>',
        ]
    return "\n".join(f"  {line}" for line in lines)
