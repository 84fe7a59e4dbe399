"""The report: one self-contained HTML file, the same content as JSON, and its figures for a paper."""

from mesascope.analyses.report.publication import check_exporter, export_figures
from mesascope.analyses.report.write import Report, write_report

__all__ = ["Report", "check_exporter", "export_figures", "write_report"]
