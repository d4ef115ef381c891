"""The agent's session with a coordinator: its stream, what it holds, and what it says of itself."""
