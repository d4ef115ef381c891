"""Changes of agents and tasks, by ids and by filters."""
