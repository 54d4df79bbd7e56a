"""The report of a study, as HTML and as Markdown."""
