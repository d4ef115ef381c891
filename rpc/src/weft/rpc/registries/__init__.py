"""Registries outside of the mesh: DNS, Kubernetes, Consul, a file. Coordinators' addresses are read from them, and own services are written to them."""
