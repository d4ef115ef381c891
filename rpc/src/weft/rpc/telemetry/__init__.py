"""What all processes tell about themselves: names, traces, figures, and the set-up of their export."""
