"""Runs a command and writes its exit code and peak memory: `launch.py RESULT.json COMMAND…`.

Linux counts the launcher's own memory into the child's maximum (a child starts as a copy of it), so the
launcher has to be smaller than what it measures: nothing is imported here that need not be.
"""

import os
import sys

pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
code = os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write(f'{{"code": {code}, "peak_mb": {usage.ru_maxrss / 1024}}}\n')
