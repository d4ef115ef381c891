"""The state of a mesh: exported, imported, backed up."""
