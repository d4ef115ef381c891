"""Contracts: descriptors, the server and the reader of reflection, and messages as JSON."""
