"""Contracts as descriptors: reflection served and read, and messages as JSON."""
