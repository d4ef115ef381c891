"""The variables by which a member of a pool is recognised, and what its process has started, whoever its parent is."""

from __future__ import annotations

from collections.abc import Mapping

MESH, MEMBER = "_WEFT_POOL_MESH", "_WEFT_POOL_MEMBER"
# What each member has of its own. weft reads all of them when it runs, and none when it is imported.
OWN = ("WEFT_AGENT_ID", "WEFT_AGENT_LABELS", "WEFT_TOKEN", MEMBER)
# No member's id has it. So an agent of a version that knows no fork server refuses its own id, and ends.
_NOBODY = "."


def fork_server_variables(env: Mapping[str, str], socket: int) -> dict[str, str]:
    """The environment of a process that is to fork members, made of that of a member: each variable has its place, and its length.

    Args:
        socket: the number of the file by which it is asked.
    """
    nobody = {name: _NOBODY * len(env[name]) for name in OWN if name in env}
    return {**env, **nobody, MEMBER: f"{_NOBODY}{socket}".ljust(len(env[MEMBER]), _NOBODY)}


def fork_server_socket(env: Mapping[str, str]) -> int | None:
    """The number of that file. None: the process of this environment is no fork server."""
    member = env.get(MEMBER, "")
    return int(member.strip(_NOBODY)) if member.startswith(_NOBODY) else None
