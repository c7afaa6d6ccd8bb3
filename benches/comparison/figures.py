"""Figures, their targets, and whether they are met."""

import statistics
from dataclasses import dataclass, field

OURS = "hospital"


@dataclass(frozen=True)
class Spread:
    """What several rounds came to."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values):
        return Spread(statistics.median(values), min(values), max(values))

    def __str__(self):
        if self.least == self.most:
            return number(self.median)
        return f"{number(self.median)} [{number(self.least)}–{number(self.most)}]"


@dataclass(frozen=True)
class Target:
    """What our figure shall be, by itself or as a ratio to another server's."""

    bound: float
    beside: str = None
    at_least: bool = False

    def reached(self, figure):
        """The figure or ratio. One ratio a round: the machine drifts from round to round, and both are in it alike."""
        ours = figure.values[OURS]
        if not self.beside:
            return Spread.of(ours)
        return Spread.of([mine / other for mine, other in zip(ours, figure.values[self.beside])])

    def is_met(self, figure):
        median = self.reached(figure).median
        return median >= self.bound if self.at_least else median <= self.bound

    def __str__(self):
        return f"{'≥' if self.at_least else '≤'} {number(self.bound)}"


@dataclass(frozen=True)
class Figure:
    """One thing that was measured: for each server, a value a round."""

    title: str
    unit: str
    values: dict
    targets: list = field(default_factory=list)

    def rows(self):
        """A row for each target: what it is, what was reached, the target, whether it is met."""
        for target in self.targets:
            if target.beside:
                title, unit = f"{self.title}, beside {target.beside}", " ×"
            else:
                title, unit = self.title, f" {self.unit}" if self.unit else ""
            yield title, f"{target.reached(self)}{unit}", f"{target}{unit}", target.is_met(self)


def number(value):
    """Three digits that mean something, and no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
