"""The parts of each weft process: logs, output, signals, standard streams."""
