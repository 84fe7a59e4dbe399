"""The report: one self-contained HTML file, and the same content as JSON."""

from mesascope.analyses.report.write import Report, write_report

__all__ = ["Report", "write_report"]
