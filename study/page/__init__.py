"""From numbers to one self-contained report.html: sentences, tables, figures."""
