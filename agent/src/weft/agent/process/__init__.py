"""The agent's process: its event loop, forked children, sockets, import path, and the log of what user code raises."""
