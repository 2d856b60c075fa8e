"""Make a Python that measures its own branch coverage, and that of every Python process started below it.

    python tools/measured.py FOLDER      makes FOLDER/bin/python, FOLDER/bin/geusemaker and FOLDER/coveragerc

The end-to-end stories run the command line, the local cloud's daemon and the programs of its instances as processes of
their own. All of them are started with ``sys.executable``; it is this one when the tests are. ``-IS``, with which the
instances' programs are started for speed, becomes ``-I``, because coverage begins in a ``.pth`` file of ``site``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_PYTHON = """\
#!/bin/bash
export COVERAGE_PROCESS_START={folder}/coveragerc
if [ "${{1:-}}" = -IS ]; then shift; set -- -I "$@"; fi
exec -a "{folder}/bin/python" {python} "$@"
"""
_PROGRAM = """\
#!/bin/bash
exec {folder}/bin/python {venv}/bin/geusemaker "$@"
"""
_CONFIGURATION = """\
[run]
branch = true
parallel = true
sigterm = true
patch = _exit, execv
source = {package}
data_file = {folder}/data/coverage
disable_warnings = no-data-collected, module-not-measured

[report]
skip_covered = true
skip_empty = true
show_missing = true
exclude_also =
    if TYPE_CHECKING:
    raise NotImplementedError
    if __name__ == .__main__.:
"""


def main(folder: Path) -> None:
    """Make it anew: what an earlier run measured is gone."""
    root, venv = Path.cwd(), Path(sys.prefix)
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "bin").mkdir(parents=True)
    (folder / "data").mkdir()
    # Python takes the folder above its own name's for a virtual environment when it finds this file there.
    shutil.copy(venv / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(venv / "lib")
    values = {"folder": folder, "venv": venv, "python": Path(sys.executable).resolve(), "package": root / "geusemaker"}
    for name, text in (("bin/python", _PYTHON), ("bin/geusemaker", _PROGRAM)):
        (folder / name).write_text(text.format(**values))
        (folder / name).chmod(0o755)
    (folder / "coveragerc").write_text(_CONFIGURATION.format(**values))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
