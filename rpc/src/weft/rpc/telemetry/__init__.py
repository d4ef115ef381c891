"""OpenTelemetry: names, traces, and the set-up of export in weft's own processes."""
