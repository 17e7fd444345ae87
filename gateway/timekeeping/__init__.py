"""Time that a wrong date can't fool: starts of the machine, the time since each, and when the wall clock is right."""
