"""Dashboard: web pages for operators and marketers, served by the same process behind the operator's password."""
