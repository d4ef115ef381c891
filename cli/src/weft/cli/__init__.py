"""The `weft` command. `main` lists the subcommands; the module of a subcommand is imported when it is used."""
