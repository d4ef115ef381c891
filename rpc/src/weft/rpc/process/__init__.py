"""What every process of weft does alike: logs, output, signals, standard streams."""
