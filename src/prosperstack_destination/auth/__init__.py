"""Who may call, and whose ProsperStack is written to."""
