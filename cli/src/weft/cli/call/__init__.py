"""The parts of `weft call`: requests read, the call made, its choice of agent explained."""
