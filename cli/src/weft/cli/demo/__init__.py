"""`weft demo`: real work goes through a mesh on this machine, survives two crashes, and is checked.

demo_command.py  the options, and the order of steps     demo_report.py       the verdict, the tables, the line of JSON
demo_run.py      submission, crashes, results            expected_results.py  the computation to compare with
demo_agent.py    the agents: the example, with a ledger  ledger.py            a record of the attempts, outside the mesh
corpus.py        the files, and where the example is     demo_display.py      messages and the progress bar

All processes are children of `weft.cli.process.children`, which ends them when the demo ends.
"""
