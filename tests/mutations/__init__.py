"""Deliberate breaks of the promises, and the proof that tests notice each of them."""
