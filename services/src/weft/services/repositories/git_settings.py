"""The environment and the configuration of each process of git: all of it from here, nothing of the user's or the machine's. Pure.

A repository is made by strangers. What it could use to run something, or to reach something, is off: hooks, filters and drivers of diffs and merges (these need a
configuration, of which there is none), submodules, other protocols than https, redirects, files of the user with passwords.
"""

from __future__ import annotations

from collections.abc import Mapping

# Of the agent's own environment: certificates and proxies, and where programs are.
_KEPT = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
_NOTHING = "/dev/null"

_FIXED_CONFIG: Mapping[str, str] = {
    # Nothing is run.
    "core.hooksPath": _NOTHING,
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.attributesFile": _NOTHING,
    "core.excludesFile": _NOTHING,
    "core.sshCommand": "false",
    "core.editor": "false",
    "core.pager": "cat",
    "credential.helper": "",
    "init.templateDir": "",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "push.gpgSign": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # Nothing of other repositories.
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "diff.ignoreSubmodules": "all",
    "status.submoduleSummary": "false",
    # Nothing but the remote itself.
    "protocol.allow": "never",
    "http.followRedirects": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "push.followTags": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    # Objects are checked when they come; what old programs have written without harm is taken.
    "transfer.fsckObjects": "true",
    **{
        f"{part}.fsck.{fault}": "ignore"
        for part in ("fetch", "receive")
        for fault in ("zeroPaddedFilemode", "missingSpaceBeforeDate", "badTimezone", "missingNameBeforeEmail")
    },
    # Packs, so that there are few files to measure; and large objects are streamed.
    "fetch.unpackLimit": "1",
    "core.bigFileThreshold": "16m",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "core.protectNTFS": "true",
    "core.protectHFS": "true",
    "core.logAllRefUpdates": "false",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "core.ignoreCase": "false",
    "advice.detachedHead": "false",
    "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
}


def environment(
    own: Mapping[str, str],
    *,
    schemes: tuple[str, ...] = (),
    url: str = "",
    helper: Mapping[str, str] | None = None,
    symlinks: bool = False,
    author: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables of a process of git.

    Args:
        own: those of the agent.
        schemes: protocols that it may use. Empty: it talks to nobody.
        url: of the remote "origin", which is in no file.
        helper: the configuration that leads to the credential; never the credential.
        symlinks: links are checked out as links.
        author: GIT_AUTHOR_… and GIT_COMMITTER_… of a commit.
    """
    config = dict(_FIXED_CONFIG)
    config["core.symlinks"] = str(symlinks).lower()
    config |= {f"protocol.{scheme}.allow": "always" for scheme in schemes}
    if url:
        config["remote.origin.url"] = url
    config |= helper or {}
    made = {name: own[name] for name in _KEPT if name in own}
    made |= {
        "LC_ALL": "C",
        # No ~/.netrc, too, which curl would read.
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": _NOTHING,
        "GIT_CONFIG_GLOBAL": _NOTHING,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(schemes) or "none",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        # One allocation is no larger: an object says itself how large it is.
        "GIT_ALLOC_LIMIT": "512m",
    }
    made |= author or {}
    made["GIT_CONFIG_COUNT"] = str(len(config))
    for number, (key, value) in enumerate(config.items()):
        made[f"GIT_CONFIG_KEY_{number}"] = key
        made[f"GIT_CONFIG_VALUE_{number}"] = value
    return made
