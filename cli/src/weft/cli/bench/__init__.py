"""`weft bench`: the speed of direct and durable calls, beside plain calls on the same machine in the same run.

bench_command.py        the options, the table and the line of JSON
measure.py              the measurement: all subjects in turns
bench_subject.py        a subject: something that takes calls
raw_subject.py, direct_subjects.py, durable_subjects.py
                        the subjects
echo.py, raw_server.py  the measured processes

Raw figures depend on the machine; the ratio to a plain call hardly does.
"""
