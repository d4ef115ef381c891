"""Members as processes of the coordinator's machine, under a keeper that outlives the coordinator."""
