"""How Sphinx builds the documentation; every warning is an error (``make docs``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from revproxy import __version__

project = "revproxy"
author = "revproxy contributors"
copyright = "revproxy contributors"
version = release = __version__
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "examples"]
nitpicky = False
html_theme = "alabaster"
html_theme_options = {"description": "An event-driven reverse proxy on Twisted", "fixed_sidebar": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
