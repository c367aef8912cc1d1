"""Ranking for numeric targets: bounds, heads, measurement and documents of their own.

Errors are means over target columns, which are standardised by the training images: 1.0 is the
squared error of knowing only the mean.
"""
