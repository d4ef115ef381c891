"""Alerts as events: what somebody should look at, judged by one coordinator at a time while somebody listens."""
