"""The `weft` command. `main` names the subcommands; each lives in a module that is imported when it is used."""
