"""Namespaces: the meshes in one coordinator, each with a store, a fleet, queues and services of its own."""
