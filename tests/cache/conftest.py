"""What the cache's conversations share."""

from tests.cache.talk import nothing_goes_round, talk  # noqa: F401  # fixtures
