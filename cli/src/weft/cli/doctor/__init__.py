"""`weft doctor`: what is wrong with a mesh, as seen from here, and what to do about it."""
