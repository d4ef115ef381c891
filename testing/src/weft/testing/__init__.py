"""Tests of agents and clients, without processes: handlers alone, and a mesh in the test's own process."""
