"""The demo backends that come with the package: something to proxy to at once, and in tests.

``python -m revproxy.demo`` starts them; ``python -m revproxy.demo run`` starts them with revproxy
in front.
"""

from revproxy.demo.backend import make_backend

__all__ = ["make_backend"]
