"""The commands as they are declared; what they do is imported when they are run, so that ``--help`` stays quick."""
