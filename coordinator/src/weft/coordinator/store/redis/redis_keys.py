r"""Every key of the Redis store, and its contents. The scripts build the same names.

All keys of a store begin with its prefix, which is a hash tag: in a Cluster they are in one slot, and each script
touches that slot alone. Times are seconds since the epoch by Redis' clock; records are msgpack.

| key               | type   | contents                                                                                 |
|-------------------|--------|------------------------------------------------------------------------------------------|
| `t:<id>`          | string | a task's record (below)                                                                  |
| `b:<id>`          | string | [payload, call context]; absent: both are empty                                          |
| `o:<id>`          | string | the outcome that an agent reported                                                       |
| `h:<id>`          | string | attempts that did not end the task, trimmed (history.py): [number, agent, started,       |
|                   |        | ended, outcome or the name of one of the store's own, crashed, released] each            |
| `p:<id>`          | list   | progress: [attempt, payload] each                                                        |
| `s:<id>`          | string | size of each item of `p:`, four bytes each, big-endian                                   |
| `steps:<id>`      | list   | recorded steps: [name, kind, value, attempt, time, wake time or false] each              |
| `step_names:<id>` | hash   | name of a step → its place in `steps:`, from 1; `signal/<name>` → how many signals it    |
|                   |        | has; `signal/<name>\n<id>` → place of the signal with this id                            |
| `calls:<id>`      | zset   | unfinished tasks that its handler has made as remembered calls (score 0)                 |
| `cancelling`      | zset   | `<id>/<grace>/<call>` of a cancelled task whose calls behind this one are to be          |
|                   |        | cancelled, too; by when that was noted                                                   |
| `cancels`         | string | there while there is something in `cancelling`                                           |
| `q:<request id>`  | string | digest of the request, then the task's id                                                |
| `ready:<queue>`   | zset   | ready tasks; score 9 - priority, so that ids of equal score are in order of age; with    |
|                   |        | fairness keys, plus tag / 2^42 (fairness.py)                                             |
| `fair:<p>:<queue>`| zset   | turns of the ready tasks with priority p: `v` → tag of the last claimed one; `k<fairness |
|                   |        | key>` → its next tag, if that is not past                                                |
| `fair`            | string | how many `fair:<p>:<queue>` there are; absent: none                                      |
| `limits`          | hash   | method → its run limits: {key expression: [most running, rate, size of the bucket,       |
|                   |        | action, grace, burst, version since which it counts unfinished tasks]}; false: any number|
| `limited`         | string | there while there are run limits, or gates to look at                                    |
| `rulings`         | string | version of `limits`                                                                      |
| `gate:<gate>`     | string | state of a gate, while it is not as new (below)                                          |
| `parked:<g>\n<q>` | zset   | tasks of this queue that are parked at this gate, in the order of `ready:`               |
| `parks:<gate>`    | hash   | queue → tasks parked at the gate                                                         |
| `parked`          | hash   | queue → parked tasks                                                                     |
| `waiting`         | zset   | gates with parked tasks (score 0)                                                        |
| `gates`           | zset   | gates that a sweep looks at, by when; `c<gate>`: the limits of its method have changed,  |
|                   |        | look at the gates behind this one                                                        |
| `exclusive:<gate>`| zset   | exclusive claims that are parked at a lock (score 0)                                     |
| `holders:<gate>`  | set    | tasks that hold a lock                                                                   |
| `locks`           | zset   | gates of locks that are held or waited for (score 0)                                     |
| `kept:<v>:<gate>` | zset   | unfinished tasks since this version, in order, at a limit that does not let tasks wait   |
| `held:<e>#<agent>`| set    | tasks that this session runs                                                             |
| `sessions:<agent>`| hash   | epoch → instance id, of sessions with a lease                                            |
| `all`             | zset   | every task by id (score 0), for listing                                                  |
| `claim:<token>`   | string | the attempts of a claim, for a minute: [agent, epoch, id, attempt] each                  |
| `timers`          | zset   | unfinished tasks with a limit or delay, by when it is due                                |
| `expiry`          | zset   | ended tasks, by when they are forgotten                                                  |
| `owners`          | zset   | `<epoch>#<agent>` by the end of the lease                                                |
| `leaving`         | zset   | ended sessions whose attempts are to be reclaimed: 1 as crashes, 0 as if never made      |
| `swept`           | string | when a coordinator last swept, to a quarter of a second                                  |
| `queues`          | hash   | queue → unfinished tasks                                                                 |
| `sets`            | hash   | queue with requirements, without an avoided agent → unfinished tasks with them           |
| `widths`          | hash   | method → how many of these sets it has                                                   |
| `scheduled`       | hash   | queue → tasks that are SCHEDULED                                                         |
| `running`         | hash   | queue → tasks that are RUNNING                                                           |
| `submitted`       | hash   | submitter whose tasks are counted → its unfinished tasks                                 |
| `moved`           | zset   | queues that hold ready tasks, by the revision of their last change                       |
| `moves`           | string | revision of the queues: grows with every change of how many tasks are ready in one       |
| `unfinished`      | string | how many tasks have not ended                                                            |
| `last`            | string | the largest task id ever stored                                                          |
| `epochs`          | string | the last epoch given out                                                                 |
| `coordinators`    | string | the last coordinator number given out                                                    |
| `agents`          | hash   | agent → its last session: {i: instance, e: epoch, c: connected, o: stream open, l: left} |
| `about`           | hash   | agent → its description                                                                  |
| `views`           | hash   | agent → its coordinator's view of it, while its stream is open                           |
| `load:<agent>`    | string | its load, as its coordinator sees it; for some seconds                                   |
| `fleet`           | string | version of the fleet: grows with every change of agents and desired states               |
| `changes`         | zset   | agents, also the last forgotten ones, by the version of their last change                |
| `gone`            | zset   | the last forgotten agents, by the version of that                                        |
| `floor`           | string | agents forgotten up to this version are not in `changes` any more                        |
| `desired`         | hash   | agent → its desired state, a weft.v1.DesiredState                                        |
| `contracts`       | hash   | digest → descriptor set                                                                  |
| `order`           | list   | digests, oldest first                                                                    |
| `hosted`          | hash   | method → digest of the contract in force                                                 |
| `unused`          | hash   | digest → since when no agent and no unfinished task has needed it                        |
| `catalogue`       | string | version of `contracts`, `order` and `hosted`                                             |
| `paused`          | set    | methods                                                                                  |
| `pauses`          | string | version of `paused`                                                                      |
| `rows:<kind>`     | hash   | key → a row of the table: [revision, when it is due or false, value]                     |
| `row_order:<kind>`| zset   | keys of the kind's rows (score 0), for listing                                           |
| `row_due:<kind>`  | zset   | keys of rows with a time, by that                                                        |
| `row_kinds`       | zset   | kinds of rows, `groups` and `events:<topic>`, by the revision of the last change         |
| `row_revision`    | string | the last revision that a row got                                                         |
| `group_ids`       | hash   | name of a group → its uid                                                                |
| `groups`          | zset   | names of groups (score 0), for listing                                                   |
| `group:<uid>`     | string | state of a group (below)                                                                 |
| `members:<uid>`   | zset   | its stored tasks (score 0)                                                               |
| `note:<uid>`      | string | its note (group_store.py)                                                                |
| `group_dues`      | zset   | uids of groups whose note has a time, by that; infinite: when the group ends             |
| `group_looks`     | zset   | uids of groups without tasks, by when to look whether they are kept                      |
| `topics`          | zset   | topics that have had events (score 0), for listing                                       |
| `topic:<topic>`   | hash   | first: the oldest kept event; last: the newest; size: bytes of the kept ones; at: when   |
|                   |        | the newest was stored                                                                    |
| `log:<topic>`     | stream | its kept events; id `<sequence>-0`; b: body, t: when it was stored                       |
| `event_ids:<span>`| hash   | `<topic>\n<id>` → sequence, of the events stored in this span of two minutes             |
| `state:<lock>`    | string | the state that a lock keeps (states.lua)                                                 |
| `states`          | zset   | locks that keep a state (score 0), for listing                                           |
| `state_ends`      | zset   | locks whose state ends, by when                                                          |
| `fence`           | string | written before a WAIT for replicas                                                       |
| `layout`          | string | version of this layout                                                                   |
| `live`            | zset   | numbers of live coordinators, by when that ends                                          |
| `events:<number>` | channel| for one coordinator, the changes of another's script: [ids, ready depths, revoked         |
|                   |        | attempts, whether something became ready, kinds of changed rows if any]                   |
| `posts`           | channel| for all coordinators, what one of them posts: a message of weft.v1 (`LogPost`)            |

The name of a queue is its method; with requirements, a line of JSON ([labels, resources]) follows. In a queue of retries the
first label has an empty name, and the avoided agent as its value.

The name of a gate is `r<method>\n<key expression>\n<value>` (a run limit) or `l<name>` (a lock). An entry of a gate is the
name of a run limit, or `x<name>` (exclusive) or `s<name>` (shared) for a lock. A gate's state: `n` attempts inside, `x` one holds the
lock exclusively, `w` parked tasks, `xw` exclusive claims among them, `r` returned tasks that are still ready, `tk` tokens at `at`.

A group's state: `m` name, `c` created, `cl` closed, `en` ended, `n` its tasks by state, also forgotten ones, `at` last change,
`x` create_group made it, `del` it was deleted, and its tasks still have it.

A record's fields, absent where unset: `s` state, `q` queue, `p` priority, `c` created, `d` delay, `ss` schedule_to_start,
`sc` schedule_to_close, `x` other options in full (stored_options.py), `r` request id, `at` ready at, if not at once, `a` attempt, `f` failures, `k` crashes,
`oa` `oe` owner's agent and epoch, `rp` the owner has reported, `st` started, `fi` finished, `ex` forgotten at, `b` state before
the end, `cr` `cg` `ce` cancellation: reason, grace, when the store ends the task, `n` responses, `nb` their bytes, `na` `ni`
attempt and index of the last one, `ra` retried at, `fa` attempts before that, `due` in `timers` at, `e` outcome of the store's
own, by name, `o` size of the `o:` key, if any, `h` size of `h:`, `bs` size of `b:`, about, `z` expired, `g` limit keys (expression,
value, …), `l` locks (entries), `fk` fairness key, `fw` its weight, `pk` entry of the gate that it is parked at, `rt` gate that let it
return, `tg` entries of taken gates, `ug` where it is in `kept:`, `gr` name of its group, `gu` the group's uid, `fb`
alternatives: [queue, options, schedule_to_start, limit keys, locks, and `ks` if it has one] each, `fo` index of the present one, from 1 (absent: the first),
`ff` since when it has that, if it fell back, `by` submitter, if its tasks are counted, `ks` the lock that keeps a state, `pn` recorded steps, `pb` bytes of
their values, `ps` signals among them, `w` the last attempt, if that waits for a signal, `wc` if for calls, `wn` the request ids of these.
"""

from __future__ import annotations

# Layout 1 did not record which queues hold tasks, which agents have changed, and how large values are. Layouts 1 and 2 left
# out options that were the default (upgrade.lua). Layout 3 had no run limits, locks and fairness keys, layout 4 no
# groups and fallbacks, layout 5 no keyed states, steps and suspended tasks.
LAYOUT = 6


class RedisKeys:
    """Names under one prefix.

    Args:
        prefix: without braces.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{{{prefix}}}"

    def __call__(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def of(self, kind: str, name: str) -> str:
        return f"{self.prefix}:{kind}:{name}"
