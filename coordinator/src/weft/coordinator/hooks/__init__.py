"""Webhooks: signed requests of other systems by HTTP, which become tasks or events."""
