"""What the cache's conversations share."""

from tests.cache.talk import talk  # noqa: F401  # a fixture
