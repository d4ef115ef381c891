"""Grafana's dashboards, described."""
