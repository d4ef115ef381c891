"""Providers whose members are run by others: systemd, Docker, Kubernetes."""
