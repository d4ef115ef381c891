"""Groups: tasks that belong together by a name, and the callback at their end."""
