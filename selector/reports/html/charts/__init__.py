"""The charts of the page, drawn with Plotly: a module each."""
