"""One script a figure, each beside its bare limit in the same run. ``make bench`` prints them as one table.

These machines are shared and noisy: the ratio is the figure, the rates are context.
"""
