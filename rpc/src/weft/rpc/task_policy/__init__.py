"""Task policies: how calls of a method run, as Python values, and what both agents and coordinators check of them."""
