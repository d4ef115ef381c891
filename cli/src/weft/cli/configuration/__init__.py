"""Files of settings, for users: `weft init` writes one, `weft config show` says what is in force."""
