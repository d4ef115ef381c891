"""Coded payloads: compressed, encrypted, or in a store (`weft/v1/payload.proto`)."""
