# SPDX-License-Identifier: MIT
"""examples/bus.c: handlers have run before the program leaves, requests are answered or refused at once; in process and over NATS."""
import os
import shutil
import socket
import subprocess
import time

from weirtest import *


def run_example(*url):
    path = os.path.join(os.path.dirname(program()), 'examples', 'example-bus')
    return subprocess.run([path, *url], capture_output=True, text=True, timeout=LIMIT)


@test
def every_handler_has_run_before_the_program_leaves():
    for _ in range(20):
        p = run_example()
        check_eq(p.returncode, 0, p.stderr)
        for line in ('stock: 1 book', 'stock: 2 pens', 'mail: 1 book', 'mail: 2 pens', 'stock handled 2, mail handled 2'):
            check_in(line, p.stdout.splitlines())


@test
def requests_are_answered_or_refused():
    start = time.monotonic()
    lines = run_example().stdout.splitlines()
    check_in('price of a pen: 3 (asked and answered)', lines)
    check_in('price of a car: nobody sells that', lines)
    check_in('receipt: 3 (no reply address, but the subscription has one)', lines)
    check_in('offers for a bike: 2', lines)
    check(time.monotonic() - start < 5, 'slow')


@test
def the_same_program_over_nats_says_the_same():
    if not shutil.which('nats-server'):
        print('skipped: nats-server is not installed')
        return
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = str(s.getsockname()[1])
    server = Program(['nats-server', '-a', '127.0.0.1', '-p', port])
    try:
        server.wait_err('Server is ready')
        if 'not supported' in run_example('nats://127.0.0.1:1').stderr:
            print('skipped: built without nats.c')
            return
        for _ in range(5):
            p = run_example('nats://127.0.0.1:' + port)
            check_eq(p.returncode, 0, p.stderr)
            check_eq(sorted(p.stdout.splitlines()), sorted(run_example().stdout.splitlines()))
    finally:
        server.kill()


if __name__ == '__main__':
    main()
