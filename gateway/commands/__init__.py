"""The subcommands, one module a group. Each prints for people by default and JSON where asked."""
