"""Events that coordinators publish themselves: members that join, leave and get lost; coordinators that stop."""
