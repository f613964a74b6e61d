"""What one arm scored: the row of report.json, and every measure with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb
from typing import Any

from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.eval.paired import kinds_of
from edgetool.eval.statistics import mean_interval, percentile, ratio_interval, wilson

BINS = 10


def summarize(arm: ArmResult) -> dict[str, Any]:
    """One row of report.json. Shares are in [0, 1], latencies in milliseconds per completion.

    category      only where a suite has categories
    irrelevance   share of the rows expecting no call where a valid completion made none; None
                  without such rows
    latency       over the rows the engine completed; None when there are none
    """
    rows = arm.results
    exact = [row.verdict.exact for row in rows]
    times = [1000 * row.seconds for row in rows if row.error is None]
    head = {"model": arm.model, "runtime": arm.runtime, "arm": arm.arm}
    return {
        **head,
        **({"category": arm.category} if arm.category else {}),
        "n": len(rows),
        "exact_match": share(exact),
        "exact_match_ci95": list(wilson(sum(exact), len(exact))),
        "right_tool": share(row.verdict.right_tool for row in rows),
        "valid": share(row.verdict.valid for row in rows),
        "irrelevance": share(row.verdict.exact for row in rows if not row.expects_call),
        "latency_ms_p50": percentile(times, 50),
        "latency_ms_p95": percentile(times, 95),
    }


def measures(arm: ArmResult) -> dict[str, Any]:
    """Everything measured of one arm; shares in [0, 1] as {"value", "ci95", "of"}.

    strict_parse      clean completions
    lenient_parse     completions out of which calls, or clean prose, could be read
    lenient_exact     exact match without asking for a clean completion
    schema_valid      clean, tools on offer only, arguments fit their schemas
    abstention        of the rows that expect no call: a clean completion made none
    must_call         of the rows that expect one: at least one call was made
    errors            rows with each class of error; `worst` counts each row's first one only
    """
    rows = arm.results
    called = [row for row in rows if row.expects_call]
    quiet = [row for row in rows if not row.expects_call]
    head = {"model": arm.model, "runtime": arm.runtime, "arm": arm.arm, "category": arm.category}
    return {
        **head,
        "n": len(rows),
        "exact_match": counted(row.verdict.exact for row in rows),
        "lenient_exact": counted(row.verdict.lenient_exact for row in rows),
        "right_tool": counted(row.verdict.right_tool for row in rows),
        "strict_parse": counted(row.verdict.valid for row in rows),
        "lenient_parse": counted(row.verdict.valid or row.verdict.predicted > 0 for row in rows),
        "schema_valid": counted(row.schema_valid for row in rows),
        "abstention": counted(row.verdict.exact for row in quiet),
        "must_call": counted(row.verdict.predicted > 0 for row in called),
        "argument_precision": ratio(rows, "right_arguments", "made_arguments"),
        "argument_recall": ratio(rows, "right_arguments", "expected_arguments"),
        "errors": dict(Counter(kind for row in rows for kind in kinds_of(row))),
        "worst": dict(Counter(row.verdict.errors[0].kind for row in rows if row.verdict.errors)),
        **drawn(arm),
        **effort(arm),
    }


def effort(arm: ArmResult) -> dict[str, Any]:
    """Time, tokens and memory, and how hard the grammar had to push."""
    rows = [row for row in arm.results if row.error is None]
    firsts = [1000 * row.first_seconds for row in rows if row.first_seconds is not None]
    masses = [row.cut_mass for row in rows if row.cut_mass is not None]
    written = sum(row.tokens for row in rows)
    return {
        "first_token_ms": {"p50": percentile(firsts, 50), "p95": percentile(firsts, 95)},
        "latency_ms": {q: percentile([1000 * row.seconds for row in rows], p) for q, p in _QS},
        "tokens": written,
        "forced_tokens": sum(row.forced for row in rows),
        "sampled_tokens": written - sum(row.forced for row in rows),
        "cut_mass": _mean(masses),
        "peak_mb": arm.peak_mb,
        "cut": sum(row.problem == "cut" for row in rows),
        "failed": len(arm.results) - len(rows),
        "unconstrained": [row.id for row in rows if row.unconstrained is not None],
    }


_QS = (("p50", 50), ("p95", 95))


def drawn(arm: ArmResult) -> dict[str, Any]:
    """pass@k and majority of several completions per row; nothing where one was drawn.

    pass@k is the unbiased estimate of Chen et al. (arXiv:2107.03374, equation 1). The majority of a
    row is the calls most of its completions made; of equals, the first.
    """
    if not arm.more:
        return {}
    by_row: dict[str, list[RowResult]] = {}
    for row in (*arm.results, *arm.more):
        by_row.setdefault(row.id, []).append(row)
    samples = min(map(len, by_row.values()))
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k < samples] + [samples]
    right = [sum(row.verdict.exact for row in rows) for rows in by_row.values()]
    passed = {k: [pass_at(samples, c, k) for c in right] for k in ks}
    return {
        "samples": samples,
        "pass_at": {
            str(k): {"value": _mean(values), "ci95": list(mean_interval(values)), "of": len(right)}
            for k, values in passed.items()
        },
        "majority": counted(majority(rows) for rows in by_row.values()),
    }


def pass_at(samples: int, right: int, k: int) -> float:
    """Probability that one of k completions, drawn from `samples` with `right` right, is right."""
    return 1 - comb(samples - right, k) / comb(samples, k)


def majority(rows: Sequence[RowResult]) -> bool:
    """Whether what most completions of a row call is right; one that is not clean has no vote."""
    votes = Counter(row.said for row in rows if row.problem is None)
    if not votes:
        return False
    winner = max(votes, key=votes.__getitem__)  # of equals, the first that was drawn
    return next(row.verdict.exact for row in rows if row.problem is None and row.said == winner)


def calibration(rows: Sequence[RowResult]) -> dict[str, Any] | None:
    """How the probability of opening with a call compares with whether a call is wanted.

    bins    by that probability: how many rows, its mean, the share that wants a call
    brier   mean squared difference of the two; error: their mean absolute one over the bins

    None where the probability was not recorded.
    """
    pairs = [(r.call_mass, r.expects_call) for r in rows if r.call_mass is not None]
    if not pairs:
        return None
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for mass, expected in pairs:
        bins[min(int(mass * BINS), BINS - 1)].append((mass, expected))
    filled = [
        {
            "from": number / BINS,
            "n": len(inside),
            "mean": _mean([mass for mass, _ in inside]),
            "wants_call": counted(expected for _, expected in inside),
        }
        for number, inside in enumerate(bins)
        if inside
    ]
    gaps = [
        abs(sum(mass for mass, _ in inside) - sum(expected for _, expected in inside))
        for inside in bins
    ]
    brier = _mean([(mass - expected) ** 2 for mass, expected in pairs])
    return {"bins": filled, "brier": brier, "error": sum(gaps) / len(pairs), "n": len(pairs)}


def counted(hits: Iterable[bool]) -> dict[str, Any]:
    """A share with its Wilson interval; its value is None of nothing."""
    hits = list(hits)
    return {"value": share(hits), "ci95": list(wilson(sum(hits), len(hits))), "of": len(hits)}


def ratio(rows: Sequence[RowResult], part: str, whole: str) -> dict[str, Any]:
    """sum(part)/sum(whole) over rows with a bootstrap interval; its value is None of nothing."""
    parts = [float(getattr(row, part)) for row in rows]
    wholes = [float(getattr(row, whole)) for row in rows]
    total = sum(wholes)
    interval = ratio_interval(parts, wholes) if total else (0.0, 1.0)
    return {"value": sum(parts) / total if total else None, "ci95": list(interval), "of": total}


def share(hits: Iterable[bool]) -> float | None:
    """The share of True, or None of nothing."""
    hits = list(hits)
    return sum(hits) / len(hits) if hits else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
