"""`weft conformance`: plays a coordinator and checks, rule by rule, that an agent keeps the session's protocol.

protocol_rules.py        the rules, as docs/protocol.md numbers them
scripted_coordinator.py  a coordinator that sends what a check tells it to send
agent_under_test.py      the agent: its process, its sessions, and what its handlers have seen
opening_checks.py, attempt_checks.py, keeping_checks.py, ending_checks.py
                         a check for each rule
run_checks.py            all checks in order, and their findings
conformance_command.py   the command, its output and its JSON
example_agent.py         an agent in Python that can be checked
"""
