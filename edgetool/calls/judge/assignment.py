"""Best one-to-one assignment, so that the judge never depends on the order of calls."""

from __future__ import annotations

from collections.abc import Sequence

_FAR = float("inf")


def best_assignment(weights: Sequence[Sequence[float]]) -> list[int]:
    """For each row of `weights` [R, K] the column it is given, R <= K, total weight greatest.

    The Hungarian method by shortest augmenting paths with potentials, O(R^2 K)
    (Jonker and Volgenant, Computing 38, 1987). Raises ValueError when R > K.
    """
    rows, columns = len(weights), len(weights[0]) if weights else 0
    if rows > columns:
        raise ValueError(f"need at least as many columns as rows, got {rows} x {columns}")
    search = _Search(weights, rows, columns)
    for row in range(1, rows + 1):
        search.place(row)
    given = {search.owner[column]: column - 1 for column in range(1, columns + 1)}
    return [given[row] for row in range(1, rows + 1)]


class _Search:
    """Rows and columns count from 1; column 0 holds the row that looks for a place."""

    def __init__(self, weights: Sequence[Sequence[float]], rows: int, columns: int) -> None:
        self.weights = weights
        self.columns = range(1, columns + 1)
        self.row_potential = [0.0] * (rows + 1)
        self.column_potential = [0.0] * (columns + 1)
        self.owner = [0] * (columns + 1)  # 0: free

    def place(self, row: int) -> None:
        """Give `row` a column, moving earlier rows along the cheapest path to a free one."""
        self.owner[0], column = row, 0
        came_from = [0] * len(self.owner)
        slack = [_FAR] * len(self.owner)
        visited = {0}
        while self.owner[column]:
            visited.add(column)
            for j in self.columns:
                cost = self._reduced_cost(self.owner[column], j)
                if j not in visited and cost < slack[j]:
                    slack[j], came_from[j] = cost, column
            column = min((j for j in self.columns if j not in visited), key=slack.__getitem__)
            self._shift(slack[column], visited, slack)
        while column:
            self.owner[column] = self.owner[came_from[column]]
            column = came_from[column]

    def _reduced_cost(self, row: int, column: int) -> float:
        potential = self.row_potential[row] + self.column_potential[column]
        return -self.weights[row - 1][column - 1] - potential

    def _shift(self, step: float, visited: set[int], slack: list[float]) -> None:
        """Change potentials so that the next column costs nothing and no cost turns negative."""
        for j in range(len(self.owner)):
            if j in visited:
                self.row_potential[self.owner[j]] += step
                self.column_potential[j] -= step
            else:
                slack[j] -= step
