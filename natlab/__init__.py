"""natlab teaches how Linux rewrites packets, on real machines, one verified step at a time.

docs/architecture.md is the map of this package.
"""

__version__ = "0.1.0"
