"""Checks: each measures one thing that must be true after a step."""
