"""The reconciler: sends ProsperStack the requests that bring observed properties to the desired ones."""
