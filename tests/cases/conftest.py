"""Fixtures of the tests of whole requests."""

from tests.ceilings import ceiling_is_measured_once

__all__ = ["ceiling_is_measured_once"]
