"""What ProsperStack calls when somebody begins to cancel: its data connector, and its webhooks."""
