"""Tasks chosen by filters, shown, and changed."""
