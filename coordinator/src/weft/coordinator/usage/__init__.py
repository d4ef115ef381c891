"""What tasks have used, and budgets that bound it."""
