"""Discovery for gRPC's own clients by xDS: `xds:///acme.v1.Greeter` goes straight to agents."""
