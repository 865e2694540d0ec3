"""The command line: a face of the service, for developers and operators."""
