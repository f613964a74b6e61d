"""Best one-to-one assignment, so that the judge never depends on the order of calls."""

from __future__ import annotations

from collections.abc import Sequence


def best_assignment(weights: Sequence[Sequence[float]]) -> list[int]:
    """For each row of `weights` [R, K] the column it is given, R <= K, total weight greatest.

    The Hungarian method by shortest augmenting paths with potentials, O(R^2 K)
    (Jonker and Volgenant, Computing 38, 1987).
    """
    rows, columns = len(weights), len(weights[0]) if weights else 0
    if rows > columns:
        raise ValueError(f"need at least as many columns as rows, got {rows} x {columns}")
    # Row and column 0 are sentinels: column 0 holds the row that looks for a place.
    row_potential, column_potential = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        column, came_from = 0, [0] * (columns + 1)
        slack, visited = [float("inf")] * (columns + 1), [False] * (columns + 1)
        while owner[column]:
            visited[column] = True
            current, step, nearest = owner[column], float("inf"), 0
            for j in range(1, columns + 1):
                if visited[j]:
                    continue
                cost = -weights[current - 1][j - 1] - row_potential[current] - column_potential[j]
                if cost < slack[j]:
                    slack[j], came_from[j] = cost, column
                if slack[j] < step:
                    step, nearest = slack[j], j
            for j in range(columns + 1):
                if visited[j]:
                    row_potential[owner[j]] += step
                    column_potential[j] -= step
                else:
                    slack[j] -= step
            column = nearest
        while column:  # flip the path that was found
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    given = [0] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            given[owner[column] - 1] = column - 1
    return given
