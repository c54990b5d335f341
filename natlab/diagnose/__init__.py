"""Diagnosis: from a goal flow and what was measured, the first broken hook and what explains it."""

from natlab.diagnose.explain import explain

__all__ = ["explain"]
