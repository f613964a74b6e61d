"""The report: one page, without requests to anywhere."""
