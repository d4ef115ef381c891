"""`weft state ...`: the states that locks keep."""
