"""Ratios of two ways to do the same, measured in turn."""

from __future__ import annotations

import os
import statistics
from typing import Final

PAIRS: Final = int(os.environ.get("BENCH_PAIRS", "5"))
"""How many times each way is measured."""


def report(name: str, pairs: list[tuple[float, float]], goal: str) -> None:
    """Print the medians in seconds and the median ratio of the pairs (ours, theirs), with how far the ratios spread."""
    ratios = [first / second for first, second in pairs]
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{name}: {first:.2f} s against {second:.2f} s, ratio median {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(pairs)} pairs; goal {goal})",
        flush=True,
    )
