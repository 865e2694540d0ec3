"""The reconciler: it spends an account's requests where desired and observed properties differ."""
