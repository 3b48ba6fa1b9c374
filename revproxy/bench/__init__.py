"""``python -m revproxy.bench``: CPU per request of revproxy, next to nginx, HAProxy and Caddy.

Needs nothing but the standard library and Linux; ``docs/benchmarks.rst`` says how to read it.
"""
