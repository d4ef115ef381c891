"""`weft provision`: what starts an agent somewhere, with a token for it."""
