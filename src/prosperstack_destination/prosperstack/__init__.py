"""ProsperStack's REST API as a client sees it: requests, answers, and the budget that its headers tell."""
