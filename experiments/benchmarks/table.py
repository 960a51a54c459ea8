"""Results as tables of Markdown.

A result is what a worker said of its build, with its times (``cpu_s``, ``wall_s``: one a round, all
contestants in turn), and its `difference` from the base; or an ``error``.
"""

import statistics
from typing import Any

Result = dict[str, Any]


def ratios(result: Result, base: Result, clock: str = "cpu_s") -> tuple[float, float, float]:
    """Least, median and largest of the ratios of times of the same round."""
    found = [a / b for a, b in zip(result[clock], base[clock], strict=True)]
    return min(found), statistics.median(found), max(found)


def overview(results: dict[str, dict[str, Result]], base: str) -> str:
    """A row for each contestant, a column for each setting: CPU time by that of the base, median (least to
    largest)."""
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    lines = ["| | " + " | ".join(results) + " |", "|---" * (1 + len(results)) + "|"]
    for name in names:
        cells = [_ratio(found.get(name), found.get(base)) for found in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(results: dict[str, Result], base: str) -> str:
    """What else is known of one setting."""
    lines = [
        "| | CPU, ms | wall clock / base | temporaries, MiB | compilation, s | traces | loss off by "
        "| gradient off by |",
        "|---" * 8 + "|",
    ]
    for name, result in results.items():
        if "error" in result:
            lines.append(f"| {name} | {result['error']} |" + " |" * 6)
            continue
        cells = [
            f"{1e3 * statistics.median(result['cpu_s']):.0f}" if result.get("cpu_s") else "-",
            f"{ratios(result, results[base], 'wall_s')[1]:.2f}" if result.get("cpu_s") else "-",
            *(
                _number(result.get(key), form)
                for key, form in (("temporaries_mib", ".1f"), ("compile_s", ".1f"))
            ),
            _number(result.get("traces"), "d"),
            *(f"{x:.0e}" for x in result["difference"]),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(result: Result | None, base: Result | None) -> str:
    if result is None:
        return "-"
    if "error" in result:
        return "failed"
    if not result.get("cpu_s") or base is None or "error" in base:
        return "not timed"
    low, middle, high = ratios(result, base)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


__all__ = ["Result", "details", "overview", "ratios"]
