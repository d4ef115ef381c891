"""Steps of handlers: remembered child calls, the service that records steps and takes signals."""
