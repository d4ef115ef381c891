"""Other systems' programs in a mesh: `weft.compat.celery`."""
