"""Commands that read and check the audit."""
