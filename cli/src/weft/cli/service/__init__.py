"""`weft service`: agents and coordinators as services of the operating system."""
