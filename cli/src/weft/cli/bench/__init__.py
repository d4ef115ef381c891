"""`weft bench`: the speed of direct and durable calls, beside plain calls on the same machine in the same run.

bench_command.py        the options, the table and the line of JSON
measure.py              the measurement: all subjects in turns
bench_subject.py        a subject: something that takes calls
raw_subject.py, direct_subjects.py, durable_subjects.py
                        the subjects
event_bench.py          events: published to live subscribers, and replayed
event_sample.py         their figures
echo.py, raw_server.py, event_followers.py, redis_process.py
                        the measured processes

Raw figures depend on the machine; the ratio to a plain call hardly does.
"""
