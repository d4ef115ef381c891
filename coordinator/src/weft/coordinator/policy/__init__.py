"""Task policies: the options of methods, read from contracts and overrides, checked, and resolved to one object a method."""
