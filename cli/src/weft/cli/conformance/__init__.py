"""`weft conformance`: plays a coordinator and checks, rule by rule, that an agent keeps the session's protocol.

rules.py        the rules, as docs/protocol.md numbers them
coordinator.py  a coordinator that says what a check tells it to
subject.py      the agent under test: its process, its sessions, what its handlers have seen
opening.py, attempts.py, keeping.py, ending.py   a check a rule
run.py          all checks in order, and what came of each
command.py      the command, what it prints and its JSON
agent.py        an agent in Python that can be checked
"""
