"""Servicers and functions as hosted methods: how each is called, and the descriptors behind them."""
