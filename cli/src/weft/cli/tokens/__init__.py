"""`weft tokens`: who may call, and what."""
