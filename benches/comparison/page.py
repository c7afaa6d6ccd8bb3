"""Tables for people, and the part of docs/PERFORMANCE.md between two marks."""

import os
import platform
import re
import sys

from .figures import Spread
from .plot import svg
from .servers import LIMIT, ROOT, VENV, quietly

DOCS = ROOT / "docs"
BEGIN = "<!-- figures: written by benches/compare --write -->"
END = "<!-- end of the figures -->"
PLOTTED = ("CPU per request", "exec to first 200", "PSS of the tree")

HEAD = "| figure | median [range] | target | |\n|---|---|---|---|"


def row(title, reached, target, is_met):
    return f"| {title} | {reached} | {target} | {'ok' if is_met else '**over**'} |"


def write(figures):
    """Writes the figures into the page and the plot beside it."""
    page = DOCS / "PERFORMANCE.md"
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{page} has lost its marks: {BEGIN} and {END}")
    table = "\n".join([HEAD, *(row(*cells) for figure in figures for cells in figure.rows())])
    (DOCS / "performance.svg").write_text(svg([figure for figure in figures if figure.title.startswith(PLOTTED)]))
    plot = "![CPU per request, start and memory beside other servers](performance.svg)"
    text = "\n\n".join([machine(), table, "### Side by side", plot, side_by_side(figures)])
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    for figure in figures:
        if figure.title not in after and not all(is_met for *_, is_met in figure.rows()):
            print(f"{page} does not say yet what holds this back: {figure.title}", file=sys.stderr)


def machine():
    """The machine and the software of the measurement, in general terms."""
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    nginx = re.search(r"nginx/([\d.]+)", quietly("nginx", "-v"))[1]
    rust = quietly("rustc", "--version").split()[1]
    gunicorn, chaussette, origin = (version(name) for name in ("gunicorn", "chaussette", "hospital"))
    python = quietly(VENV / "bin/python", "--version").split()[1]
    return (
        f"Measured on {os.cpu_count()} cores ({platform.machine()}) with {gibibytes:.0f} GiB, Linux {kernel}, everything on "
        f"loopback; built with Rust {rust}, beside nginx {nginx}, gunicorn {gunicorn} and chaussette {chaussette} with "
        f"hospital {origin} from PyPI on Python {python}."
    )


def version(package):
    return re.search(r"^Version: (.+)$", quietly(VENV / "bin/pip", "show", package), re.M)[1]


def side_by_side(figures):
    """The figures of all servers, for measures with several servers."""
    compared = [figure for figure in figures if LIMIT.name in figure.values]
    if not compared:
        return ""
    names = list(dict.fromkeys(name for figure in compared for name in figure.values))
    lines = [f"| median [range] | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for figure in compared:
        cells = [cell(figure, name) for name in names]
        lines.append(f"| {figure.title}{f', {figure.unit}' if figure.unit else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(figure, name):
    values = figure.values.get(name)
    return str(Spread.of(values)) if values else "–"
