"""Doors for clients that speak another contract: each a translation onto the mesh, without a state of its own, and imported only where it is on."""
