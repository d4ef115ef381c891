"""How a coordinator takes the place of another one on this machine."""
