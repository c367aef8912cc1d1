"""A ranking as one HTML file that needs nothing else.

``page`` fills the template in ``assets`` with what the other modules take from the record. What is
of one kind of ranking alone is in ``classification`` and ``regression``: each gives a ``Content``.
Names come from the Hub: the template escapes them, ``charts.base`` does for what Plotly reads, and
``page`` for JSON inside the page.
"""
