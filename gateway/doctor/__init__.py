"""``gateway doctor``: what this machine can promise, measured, and how to mend what it can't."""
