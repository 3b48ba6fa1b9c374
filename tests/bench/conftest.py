"""The fixture that starts processes, as the integration tests have it."""

from tests.integration.conftest import stage

__all__ = ["stage"]
