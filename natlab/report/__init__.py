"""What a run found, for programs: a collector of events, and JSON and JUnit made from it. Standard library only."""

from natlab.report.collect import Report
from natlab.report.json import to_json
from natlab.report.junit import to_junit

__all__ = ["Report", "to_json", "to_junit"]
