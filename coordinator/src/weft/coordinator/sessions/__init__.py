"""Agents connected to this coordinator: from Hello to the end of their streams."""
