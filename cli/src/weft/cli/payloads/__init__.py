"""`weft payloads`: the keys and the store of coded payloads."""
