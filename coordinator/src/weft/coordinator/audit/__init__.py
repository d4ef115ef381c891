"""The audit: who did what, as a chain of events that is kept in the store, a file, and wherever OpenTelemetry sends it."""
