"""The package list; everything else is in setup.cfg.

``twisted.plugins`` is named by hand: it must be installed, but it is a folder without
``__init__.py`` (with one it would shadow Twisted), so no finder would take it for a package.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["revproxy", "revproxy.*"]), "twisted.plugins"])
