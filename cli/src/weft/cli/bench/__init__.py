"""`weft bench`: how fast direct and durable calls are, beside plain ones on the same machine in the same run.

    command.py              the options, the table and the line of JSON
    measure.py              what is measured, in turns
    subject.py              what a subject is
    raw.py, direct.py, durable.py
                            the subjects
    echo.py, raw_server.py  the processes that are measured

Raw figures depend on the machine; the ratio to a plain call hardly does.
"""

from weft.cli.bench.bench_command import bench

__all__ = ["bench"]
