"""Charts as data, their plotly and matplotlib renderers, and the charts that the pages and reports show."""
