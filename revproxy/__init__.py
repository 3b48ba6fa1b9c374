"""An event-driven reverse proxy on Twisted: run it, embed it, point it anywhere.

This module holds the public names, and only they.
"""

__version__ = "0.1.0"
