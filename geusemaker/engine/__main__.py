"""``python -m geusemaker.engine``: find the engine, or get one; what set-up runs."""

from __future__ import annotations

import sys

from geusemaker.engine.getting import prepare_engine
from geusemaker.errors import GeusemakerError
from geusemaker.models.plan import Event


def _show(event: Event) -> None:
    doing = f"{event.state}: " if event.kind == "resource" else ""
    print(f"engine: {doing}{event.message}", flush=True)


def _main() -> int:
    try:
        engine = prepare_engine(_show)
    except GeusemakerError as error:
        for part in (error.message, error.state, error.next_step):
            if part:
                print(f"engine: {part}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("engine: interrupted; nothing was installed", file=sys.stderr)
        return 130
    print(f"engine: Pulumi {engine.version}, {engine.path}")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
