"""Limits of callers and namespaces: what each uses of this coordinator now, and the refusal of what is beyond."""
