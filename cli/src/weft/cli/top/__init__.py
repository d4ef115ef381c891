"""`weft top`: the mesh on one screen. The model is pure: a state and a key give a state, a state and data give lines."""
