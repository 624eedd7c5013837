#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gdb/weir.py shows the tasks of a running server and where a parked one waits."""
import os
import re
import shutil
import subprocess

from weirtest import Weir, check, check_in, main, test

SCRIPT = os.path.join(os.path.dirname(__file__), '..', '..', 'gdb', 'weir.py')


def gdb(weir, *commands):
    argv = ['gdb', '-nx', '-batch', '-p', str(weir.proc.pid), '-ex', 'source ' + SCRIPT]
    for c in commands:
        argv += ['-ex', c]
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120).stdout


if shutil.which('gdb'):
    @test
    def gdb_lists_the_tasks_and_shows_where_a_parked_one_waits():
        with Weir() as w:
            w.get('/healthz')
            out = gdb(w, 'info weir tasks')
            root = re.search(r'#(\d+) +worker \d+ +waiting on .*root', out)
            check(root, out)
            out = gdb(w, 'weir bt ' + root.group(1))
            check_in('weir__leave', out)
            check_in('task_entry', out)
            check(w.get('/healthz').status == 200, 'it goes on after gdb has left')

main()
