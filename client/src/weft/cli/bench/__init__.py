"""`weft bench`: how fast a durable call is, beside a plain one on the same machine in the same run.

    command.py              the options, the table and the line of JSON
    measure.py              what is measured, in turns
    subject.py              what a subject is
    raw.py, embedded.py     one subject each: another one is one more such file
    echo.py, raw_server.py  the processes that are measured

Raw figures depend on the machine; the ratio of a durable call to a plain one hardly does.
"""

from weft.cli.bench.command import bench

__all__ = ["bench"]
