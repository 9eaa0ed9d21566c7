"""Fixtures of the HTTP tests."""

from tests.support.service import service, start_service

__all__ = ["service", "start_service"]
