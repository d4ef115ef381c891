"""How a process joins a mesh that makes certificates by itself: first contact by a pin, its certificate, and the renewal."""
