"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes depends on what else the machine does: no test fails by the clock.
settings.register_profile("geusemaker", deadline=None)
settings.load_profile("geusemaker")
