"""Spans: the port that everyone uses, and its one adapter. Off unless OTEL_* variables ask."""
