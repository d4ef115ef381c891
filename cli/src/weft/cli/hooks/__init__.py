"""`weft hooks`: requests of other systems that become tasks or events."""
