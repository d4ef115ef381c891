"""The mesh's access policy: the file that says who is trusted and who may call what, and how the coordinator follows it."""
