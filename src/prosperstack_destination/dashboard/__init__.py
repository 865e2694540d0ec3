"""The dashboard: pages for operators and marketers, in the same process, behind the operator's password."""
