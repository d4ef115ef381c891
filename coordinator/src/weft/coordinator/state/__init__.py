"""The state of a mesh, exported and imported as records."""
