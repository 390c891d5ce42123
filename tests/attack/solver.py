"""What a linear programme tells of whole numbers behind published figures: the least and the most that each can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_NEAR = 1e-7


@dataclass
class Figures:
    """What an attacker knows of `cells` whole numbers of at least 0: sums of them that lie between two ends."""

    cells: int
    rows: list[Floats] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def know(self, weights: dict[int, int], low: float, high: float) -> None:
        """The sum of the cells, each times its weight, lies in low..high."""
        row = np.zeros(self.cells)
        for cell, weight in weights.items():
            row[cell] = weight
        self.rows.append(row)
        self.low.append(low)
        self.high.append(high)

    def bounds(self, weights: dict[int, int]) -> tuple[int, int]:
        """The least and the most that a sum of cells can be; exact where rows and columns make a table of two ways."""
        aim = np.zeros(self.cells)
        for cell, weight in weights.items():
            aim[cell] = weight
        matrix = np.stack(self.rows)
        least, most = (
            _optimum(matrix, np.array(self.low), np.array(self.high), sign * aim) for sign in (1, -1)
        )
        return int(np.ceil(least - 1e-4)), int(np.floor(-most + 1e-4))

    def values(self, weights: dict[int, int]) -> int:
        """How many whole numbers a sum of cells can be."""
        least, most = self.bounds(weights)
        return most - least + 1


def rounded(value: int, to: int) -> tuple[int, int]:
    """The whole numbers that are rounded half up to `value`."""
    return value - to // 2, value + (to - 1) // 2


def _optimum(matrix: Floats, low: Floats, high: Floats, aim: Floats) -> float:
    """The least of aim @ x over x >= 0 with low <= matrix @ x <= high: the simplex method in two phases."""
    rows, cells = matrix.shape
    # matrix @ x - s = low with a surplus s, and s + t = high - low.
    body = np.block(
        [
            [matrix, -np.eye(rows), np.zeros((rows, rows))],
            [np.zeros((rows, cells)), np.eye(rows), np.eye(rows)],
        ]
    )
    right = np.concatenate([low, high - low])
    body[right < 0] *= -1
    right = np.abs(right)
    size = len(right)
    table = np.hstack([body, np.eye(size), right[:, None]])
    basis = list(range(body.shape[1], body.shape[1] + size))
    first = np.concatenate([np.zeros(body.shape[1]), np.ones(size)])
    if _descend(table, basis, first, body.shape[1] + size) > 1e-5:
        raise ValueError("no numbers fit the figures")
    second = np.concatenate([aim, np.zeros(table.shape[1] - 1 - cells)])
    return _descend(table, basis, second, body.shape[1])


def _descend(table: Floats, basis: list[int], cost: Floats, columns: int) -> float:
    # Bland's rule (the first column that pays, the first row that binds) cannot run in circles.
    while True:
        reduced = cost[:columns] - cost[basis] @ table[:, :columns]
        pays = np.flatnonzero(reduced < -_NEAR)
        if not len(pays):
            return float(cost[basis] @ table[:, -1])
        column = pays[0]
        # An artificial left in the basis at 0 must not come back: it leaves in whichever direction.
        binds = np.flatnonzero((table[:, column] > _NEAR) | _stuck(table, basis, column, columns))
        if not len(binds):
            return -np.inf
        ratio = np.where(table[binds, column] > 0, table[binds, -1] / table[binds, column], 0.0)
        row = min(binds[ratio <= ratio.min() + 1e-9], key=lambda at: basis[at])
        table[row] /= table[row, column]
        others = np.arange(len(table)) != row
        table[others] -= np.outer(table[others, column], table[row])
        basis[row] = int(column)


def _stuck(table: Floats, basis: Sequence[int], column: int, columns: int) -> npt.NDArray[np.bool_]:
    return (np.array(basis) >= columns) & (np.abs(table[:, column]) > _NEAR) & (table[:, -1] < _NEAR)
