"""The parts of `weft call`: requests, the call, the table of `--explain`, and notices of what a call waits for."""
