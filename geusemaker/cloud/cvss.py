"""The base score of a CVSS 3 vector, by first.org/cvss/v3-1/specification-document, sections 7.1 and 7.4.

CVSS 4 has no formula but a table of 270 scores; records with such a vector have a word as well.
"""

from __future__ import annotations

import math
from typing import Final

_WEIGHTS: Final = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES: Final = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def base_score(vector: str) -> float | None:
    """0 to 10; None where it is no vector of CVSS 3."""
    version, *metrics = vector.split("/")
    if version not in ("CVSS:3.0", "CVSS:3.1"):
        return None
    given = dict(metric.partition(":")[::2] for metric in metrics)
    try:
        weights = {metric: values[given[metric]] for metric, values in _WEIGHTS.items()}
        privileges, changed = _PRIVILEGES[given["S"]][given["PR"]], given["S"] == "C"
    except KeyError:
        return None
    sub = 1 - (1 - weights["C"]) * (1 - weights["I"]) * (1 - weights["A"])
    impact = 7.52 * (sub - 0.029) - 3.25 * (sub - 0.02) ** 15 if changed else 6.42 * sub
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weights["AV"] * weights["AC"] * privileges * weights["UI"]
    return _rounded_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10.0))


def _rounded_up(score: float) -> float:
    """To one decimal, as the specification's appendix A has it: floats' last digits do not count."""
    whole = round(score * 100000)
    return whole / 100000.0 if whole % 10000 == 0 else (math.floor(whole / 10000) + 1) / 10.0
