"""Provisioning: the command or manifest that starts an agent somewhere, with a token for it. See docs/how-to/provisioning.md.

A package that adds a kind needs `provision_kind` and `agent_spec` alone, and `shell_text` and `yaml_text` for quoting.
"""
