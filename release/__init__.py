"""What must hold before a version leaves this house, as a list that a machine goes through: ``make release-check``."""
