"""Declarations of the commands: names, options and help. Each imports its implementation when it runs."""
