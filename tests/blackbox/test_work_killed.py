# SPDX-License-Identifier: MIT
"""kill -9 of `weir work` while it runs a job: its command dies with it, all of it, and the job runs elsewhere, alone."""
from weirtest import *


class Worker(Program):
    def __init__(self, server, queue, script):
        super().__init__([program(), 'work', queue, '--server', server.url, '--', 'sh', '-c', script])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.kill()


class Watched:
    """A process that is not our child: has it ended?"""

    def __init__(self, pid):
        self.pid = int(pid)
        self.fd = os.pidfd_open(self.pid)

    def ended(self, seconds):
        r, _, _ = select.select([self.fd], [], [], seconds)
        return bool(r)

    def close(self):
        os.close(self.fd)


# A shell, its child, and a child that ignores what can be ignored.
FAMILY = '''
sleep 1000 & a=$!
sh -c 'trap "" TERM HUP INT; sleep 1001; sleep 1002' & b=$!
echo "family $$ $a $b" >&2
wait
'''


def guards_of(pid):
    children = set()
    for t in os.listdir(f'/proc/{pid}/task'):
        children |= set(open(f'/proc/{pid}/task/{t}/children').read().split())
    return [p for p in children if open(f'/proc/{p}/comm').read() == 'weir-guard\n']


@test
def its_command_dies_with_it_to_the_last_process():
    with Weir() as w, Worker(w, 'q', FAMILY) as worker:
        id = w.enqueue('q')
        family = [Watched(p) for p in worker.wait_err(r'family (\d+) (\d+) (\d+)').groups()]
        os.kill(worker.pid, signal.SIGKILL)
        start = time.monotonic()
        for p in family:
            check(p.ended(5), f'process {p.pid} outlived its worker')
            p.close()
        check(time.monotonic() - start < 1, 'that took long')
        until(lambda: w.job(id)['state'] == 'queued', 'the job was not returned')
        check(time.monotonic() - start < 2, 'the job came back late')
        # Nobody is left who holds its output.
        worker.wait()


@test
def its_guard_goes_too_and_does_not_mind_the_terminal():
    with Weir() as w, Worker(w, 'q', 'echo "at $$" >&2; exec sleep 1000') as worker:
        w.enqueue('q')
        worker.wait_err(r'at \d+')
        # A process bears its parent's name until it has taken its own.
        until(lambda: len(guards_of(worker.pid)) == 1, 'no guard, or several')
        guards = [Watched(p) for p in guards_of(worker.pid)]
        check(os.getsid(guards[0].pid) != os.getsid(worker.pid), 'it could be killed with the session')
        # Its end of the pair, and the lease's connection.
        until(lambda: len(os.listdir(f'/proc/{guards[0].pid}/fd')) == 2, 'other descriptors')
        os.kill(worker.pid, signal.SIGKILL)
        check(guards[0].ended(5), 'the guard stays')


@test
def the_job_runs_elsewhere_and_never_beside_an_orphan():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        # Each run looks for processes of the one before it that can still run; by their environment, since numbers are used again.
        script = f'''
            for p in $(tail -n 1 {d}/pids 2>/dev/null); do
                if tr '\\0' '\\n' </proc/$p/environ 2>/dev/null | grep -q "^WEIR_JOB_ID=$WEIR_JOB_ID"; then
                    echo "orphan $p $(grep State /proc/$p/status)" >&2
                fi
            done
            sleep 1000 & echo "$$ $!" >> {d}/pids
            echo "run $WEIR_ATTEMPT" >&2
            wait
        '''
        id = w.enqueue('q')
        rounds = 8
        worker = Worker(w, 'q', script)
        try:
            for i in range(rounds):
                worker.wait_err(r'run \d+')
                # The next one waits for the job already.
                following = Worker(w, 'q', script)
                until(lambda: w.get('/v1/status').json['http']['active'] > 1, 'nobody waits for a job')
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
                check('orphan' not in worker.err, worker.err)
                worker = following
            worker.wait_err(r'run \d+')
            check('orphan' not in worker.err, worker.err)
            check_eq(w.job(id)['state'], 'running')
        finally:
            worker.kill()


@test
def a_job_that_kills_its_worker_is_dead_after_its_attempts():
    with Weir() as w:
        id = w.enqueue('q', Weir_Max_Attempts=3)
        for _ in range(3):
            # The worker is the parent of its command's leader.
            with Worker(w, 'q', 'kill -9 $PPID; sleep 1000') as worker:
                check_eq(worker.wait(), -signal.SIGKILL)
        until(lambda: w.job(id)['state'] == 'dead', lambda: f'{w.job(id)}')
        check_eq(w.job(id)['error'], 'its worker vanished')
        check_eq(w.job(id)['attempts'], 3)


@test
def what_left_the_group_does_not_keep_the_job():
    with Weir() as w, Worker(w, 'q', 'setsid sh -c \'echo "daemon $$" >&2; exec sleep 1000\' & wait; sleep 1000') as worker:
        id = w.enqueue('q')
        daemon = Watched(worker.wait_err(r'daemon (\d+)').group(1))
        try:
            # It holds neither the connection nor anything else of the worker's.
            files = [os.readlink(f.path) for f in os.scandir(f'/proc/{daemon.pid}/fd')]
            check(not any(f.startswith('socket:') for f in files), files)
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda: w.job(id)['state'] == 'queued', 'the job was not returned')
            check(not daemon.ended(0), 'the daemon is gone')
        finally:
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.close()


@test
def a_late_ack_from_the_old_lease_is_refused():
    with Weir() as w:
        id = w.enqueue('q')
        c = w.connect()
        a = w.request('POST', '/v1/queues/q/take?lease=connection', conn=c)
        old = a.json[0]
        check_eq(w.job(id)['state'], 'running')
        c.close()
        until(lambda: w.job(id)['state'] == 'queued', 'closing the connection did not return the job')
        new = w.take('q')[0]
        check_eq(new['id'], id)
        check_eq(w.ack(old).status, 409)
        check_eq(w.job(id)['state'], 'running')
        check_eq(w.ack(new).status // 100, 2)
        check_eq(w.job(id)['state'], 'done')


if __name__ == '__main__':
    main()
