"""Figures, their targets, and whether they are met."""

import statistics
from dataclasses import dataclass, field

OURS = "hospital"


@dataclass(frozen=True)
class Spread:
    """The result of several rounds."""

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
    """What our figure should be, absolute or as a ratio to that of another server."""

    bound: float
    beside: str = None

    def reached(self, figure):
        """The figure or ratio. One ratio for each round: the machine drifts between rounds, but affects both alike."""
        ours = figure.values[OURS]
        if not self.beside:
            return Spread.of(ours)
        return Spread.of([mine / other for mine, other in zip(ours, figure.values[self.beside])])

    def is_met(self, figure):
        return self.reached(figure).median <= self.bound

    def __str__(self):
        return f"≤ {number(self.bound)}"


@dataclass(frozen=True)
class Figure:
    """One measured quantity: for each server, one value for each round."""

    title: str
    unit: str
    values: dict
    targets: list = field(default_factory=list)

    def rows(self):
        """A row for each target: its name, the result, the target, whether it is met."""
        for target in self.targets:
            if target.beside:
                title, unit = f"{self.title}, beside {target.beside}", " ×"
            else:
                title, unit = self.title, f" {self.unit}" if self.unit else ""
            yield title, f"{target.reached(self)}{unit}", f"{target}{unit}", target.is_met(self)


def number(value):
    """Three significant digits, and no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
