"""The packages of the optional parts, for hints where one is missing.

Rules of this module:

* a hint names packages that any index has: revproxy itself may have come from a folder;
* :data:`PACKAGES` says what ``setup.cfg`` says; a test holds the two together.
"""

from __future__ import annotations

import sys

#: By extra, what it asks for, in pip's words.
PACKAGES: dict[str, tuple[str, ...]] = {
    "acme": ("josepy>=2.0",),
    "auth": ("bcrypt>=4.3", "argon2-cffi>=23.1", "joserfc>=1.4"),
    "compress": ("isal>=1.7", "zlib-ng>=0.5", "brotli>=1.2", "backports.zstd>=1.0"),
    "filters": ("google-re2>=1.1",),
}
#: What the standard library has from a version of Python on.
_BUILT_IN = {"backports.zstd>=1.0": (3, 14)}


def how_to_install(extra: str, python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """What to do where a package of an extra is missing, for after a colon.

    :param python: the interpreter's version.
    """
    wanted = [name for name in PACKAGES[extra] if python < _BUILT_IN.get(name, (99,))]
    packages = " ".join(f'"{name}"' for name in wanted)
    return f"install the packages of revproxy[{extra}]: pip install {packages}"
