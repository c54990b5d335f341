"""Pictures for slides and reports: values in, SVG text out; no I/O."""

from natlab.picture.table import table_svg
from natlab.picture.trace import trace_svg

__all__ = ["table_svg", "trace_svg"]
