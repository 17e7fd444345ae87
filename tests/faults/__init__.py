"""The fault matrix: every fault, at every way in, again and again, with a ledger of what devices saw acknowledged.

``make fault-matrix`` (``python -m tests.faults``) runs it, writes down what each run found and renders the table of
docs/DELIVERY.md from all runs that were ever written down.
"""
