"""The page: from numbers to one self-contained report.html of sentences, tables and figures."""
