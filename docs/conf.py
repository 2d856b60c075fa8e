"""How the documentation becomes a site: `make docs`, and strictly in `make lint`. The pages read as they are, too."""

from geusemaker._version import __version__

project = "geusemaker"
author = "the geusemaker authors"
copyright = author
release = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = "geusemaker"
html_copy_source = False
