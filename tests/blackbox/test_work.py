#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""weir work: a command for each job, and that a job is never run beside its own orphan."""
import os
import signal
import tempfile

from weirtest import *


class Worker(Program):
    """A running `weir work`."""

    def __init__(self, w, *args, **kw):
        env = {'WEIR_SERVER': w.url, **kw.pop('env', {})}
        super().__init__([program(), 'work', *args], env=env, **kw)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if self.proc.poll() is None:
            self.kill()
        if kind is None:
            self.check_clean()
        return False

    def stop(self, sig=signal.SIGTERM, limit=60):
        self.signal(sig)
        status = self.wait(limit)
        self.check_clean()
        return status


def state(w, id):
    return w.job(id)['state']


def check_failed(w, id):
    """It waits for its next attempt; on a slow day that is due already."""
    job = w.job(id)
    check(job['state'] in ('delayed', 'queued') and job['attempts'] == 1, job)
    check_in('failed', [e['event'] for e in job['history']])


def alive(pid):
    """Does the process still run? One that nobody has reaped yet does not."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_pid(path):
    def pid():
        try:
            with open(path) as f:
                text = f.read()
            return int(text) if text.endswith('\n') else None
        except FileNotFoundError:
            return None
    return until(pid, f'{path} never came')


@test
def the_payload_is_the_commands_input_and_the_job_is_done():
    with Weir() as w:
        id = w.enqueue('mail', b'hello\n')
        with Worker(w, 'mail', '--', 'sh', '-c', 'cat >&2') as worker:
            worker.wait_err('^hello$')
            until(lambda: state(w, id) == 'done', 'never done')
            check_eq(worker.stop(), 0)


@test
def the_output_is_the_jobs_result():
    with Weir() as w:
        id = w.enqueue('q', b'abc')
        status, out, err = cli('work', 'q', '--once', '--', 'tr', 'a-z', 'A-Z', env={'WEIR_SERVER': w.url})
        check_eq((status, out, err), (0, b'', ''))
        check_eq(w.job(id)['result'], 'ABC')


@test
def bytes_pass_both_ways():
    with Weir() as w:
        data = bytes(range(256)) * 16
        id = w.enqueue('q', data)
        cli('work', 'q', '--once', '--', 'cat', env={'WEIR_SERVER': w.url}, check_status=0)
        check_eq(base64.b64decode(w.job(id)['result_base64']), data)


@test
def a_command_knows_its_job():
    with Weir() as w:
        id = w.enqueue('q')
        cli('work', 'q', '--once', '--', 'sh', '-c', 'echo $WEIR_JOB_ID $WEIR_QUEUE $WEIR_ATTEMPT',
            env={'WEIR_SERVER': w.url}, check_status=0)
        check_eq(w.job(id)['result'], f'{id} q 1\n')


@test
def the_exit_status_is_the_verdict():
    with Weir() as w:
        env = {'WEIR_SERVER': w.url}
        for queue, command, dead, says in [('a', 'exit 3', False, 'exit status 3'), ('b', 'kill -9 $$', False, 'signal 9 (Killed)'),
                                           ('c', 'exit 100', True, 'exit status 100')]:
            id = w.enqueue(queue)
            status, out, err = cli('work', queue, '--once', '--', 'sh', '-c', command, env=env)
            check_eq(status, 1, command)
            check_in(says, err)
            check_eq(state(w, id), 'dead') if dead else check_failed(w, id)
            check_eq(w.job(id)['error'], says)


# A limit of a command, as a flag of `weir work` and a key of a queue: what goes beyond it, and what its job says then.
LIMITS = [
    ('memory', '32MiB', 'dd bs=64M count=1 if=/dev/zero of=/dev/null', 'exit status 1; its memory is limited to 32MiB'),
    ('cpu', '1s', 'while :; do :; done', 'used more than its 1s of CPU time'),
    ('file-size', '4KiB', 'head -c 5000 /dev/zero > $OUT; exit $?', 'wrote a file of more than its 4KiB'),
    ('output', '1KiB', 'while :; do echo more; done', 'wrote more than its 1KiB of output'),
]


def check_limit(w, id, says):
    job = w.job(id)
    check_eq((job['state'], job['error']), ('dead', says))
    check_in(says, [e.get('note') for e in job['history'] if e['event'] == 'failed'])


@test
def a_command_over_a_limit_of_weir_work_fails_its_job_which_says_why():
    with Weir() as w, tempfile.TemporaryDirectory() as dir:
        env = {'WEIR_SERVER': w.url, 'OUT': f'{dir}/out'}
        for flag, value, command, says in LIMITS:
            id = w.enqueue('q', Weir_Max_Attempts=1)
            status, out, err = cli('work', 'q', '--once', f'--{flag}', value, '--', 'sh', '-c', command, env=env)
            check_eq(status, 1, flag)
            check_in(says, err)
            check_limit(w, id, says)
        # Within all of them nothing is to be noticed.
        flags = [a for flag, value, _, _ in LIMITS for a in (f'--{flag}', value)]
        id = w.enqueue('q')
        cli('work', 'q', '--once', *flags, '--', 'echo', 'fine', env=env, check_status=0)
        check_eq(w.job(id)['result'], 'fine\n')


@test
def a_command_over_a_limit_of_its_queue_fails_its_job_which_says_why():
    with tempfile.TemporaryDirectory() as dir:
        with open(f'{dir}/weir.yaml', 'w') as f:
            f.write('queues:\n')
            for key, value, command, _ in LIMITS:
                f.write(f'  {key}:\n    exec: [sh, -c, {json.dumps(command)}]\n    exec-{key}: {value}\n    attempts: 1\n')
        with Weir('--config', f'{dir}/weir.yaml', env={'OUT': f'{dir}/out'}) as w:
            ids = [(w.enqueue(key), says) for key, _, _, says in LIMITS]
            for id, says in ids:
                until(lambda: w.job(id)['state'] == 'dead', 'never over')
                check_limit(w, id, says)


@test
def a_command_that_is_not_there_fails_its_job():
    with Weir() as w:
        id = w.enqueue('q')
        status, out, err = cli('work', 'q', '--once', '--', '/nonexistent/x', env={'WEIR_SERVER': w.url})
        check_eq(status, 1)
        check_in('/nonexistent/x: No such file or directory', err)
        check_failed(w, id)
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as f:
        f.write('queues: {q: {exec: [/nonexistent/x], attempts: 1}}\n')
        f.flush()
        with Weir('--config', f.name) as w:
            id = w.enqueue('q')
            until(lambda: w.job(id)['state'] == 'dead', 'never over')
            check_eq(w.job(id)['error'], '/nonexistent/x: No such file or directory')


@test
def a_result_that_is_too_large_leaves_the_job_done():
    with Weir() as w:
        id = w.enqueue('q')
        status, out, err = cli('work', 'q', '--once', '--', 'head', '-c', '3000000', '/dev/zero', env={'WEIR_SERVER': w.url})
        check_eq(status, 0, err)
        check_in('too large', err)
        check_eq(state(w, id), 'done')
    with Weir('--body-max', '1KiB') as w:
        id = w.enqueue('q')
        status, out, err = cli('work', 'q', '--once', '--', 'head', '-c', '2000', '/dev/zero', env={'WEIR_SERVER': w.url})
        check_eq((status, err), (0, ''))
        check_eq((state(w, id), len(w.job(id)['result'])), ('done', 2000))


@test
def drain_works_the_queue_off_and_ends():
    with Weir() as w:
        ids = [w.enqueue('q', str(i).encode()) for i in range(20)]
        cli('work', 'q', '--drain', '-j', '4', '--', 'cat', env={'WEIR_SERVER': w.url}, check_status=0)
        check_eq([w.job(id)['result'] for id in ids], [str(i) for i in range(20)])
        cli('work', 'q', '--drain', '--', 'cat', env={'WEIR_SERVER': w.url}, check_status=0)


@test
def jobs_run_side_by_side():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        ids = [w.enqueue('q') for _ in range(3)]
        # Each waits until all three have begun.
        script = f'touch {d}/$WEIR_JOB_ID; while [ $(ls {d} | wc -l) -lt 3 ]; do sleep 0.02; done'
        with Worker(w, 'q', '-j', '3', '--', 'sh', '-c', script) as worker:
            until(lambda: all(state(w, id) == 'done' for id in ids), lambda: worker.err)
            check_eq(worker.stop(), 0)


@test
def a_cancelled_job_ends_its_command():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        # It has time to say goodbye: SIGTERM first.
        script = f'trap "echo > {d}/goodbye; exit 1" TERM; echo $$ > {d}/pid; while :; do sleep 0.05; done'
        with Worker(w, 'q', '--', 'sh', '-c', script) as worker:
            pid = read_pid(f'{d}/pid')
            check_eq(w.delete(f'/v1/jobs/{id}').status, 200)
            until(lambda: state(w, id) == 'cancelled', lambda: f'{w.job(id)} {worker.err}')
            check(not alive(pid), 'its command lives on')
            check(os.path.exists(f'{d}/goodbye'), 'it was not asked to go')
            check_eq(worker.stop(), 0)


@test
def a_command_deaf_to_sigterm_is_killed():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        script = f'trap "" TERM; echo $$ > {d}/pid; while :; do sleep 0.05; done'
        with Worker(w, 'q', '--kill-after', '200ms', '--', 'sh', '-c', script) as worker:
            pid = read_pid(f'{d}/pid')
            check_eq(w.delete(f'/v1/jobs/{id}').status, 200)
            until(lambda: state(w, id) == 'cancelled', lambda: f'{w.job(id)} {worker.err}')
            check(not alive(pid), 'its command lives on')


@test
def a_time_limit_ends_the_command():
    with Weir() as w:
        id = w.enqueue('q', Weir_Timeout='300ms')
        status, out, err = cli('work', 'q', '--once', '--', 'sleep', '60', env={'WEIR_SERVER': w.url}, timeout=20)
        check_eq(status, 1)
        check_in('took longer than its time limit', err)
        check_failed(w, id)


@test
def sigterm_takes_nothing_new_and_finishes_what_runs():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        first = w.enqueue('q')
        with Worker(w, 'q', '--', 'sh', '-c', f'echo $$ > {d}/pid; while [ ! -e {d}/go ]; do sleep 0.02; done') as worker:
            read_pid(f'{d}/pid')
            second = w.enqueue('q')
            worker.signal(signal.SIGTERM)
            worker.wait_err('finishing 1 job; a second signal ends it at once')
            check_eq(state(w, first), 'running')
            open(f'{d}/go', 'w').close()
            check_eq(worker.wait(), 0)
            check_eq(state(w, first), 'done')
            check_eq(state(w, second), 'queued')


@test
def what_does_not_finish_within_the_grace_is_given_back():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        with Worker(w, 'q', '--grace', '3s', '--', 'sh', '-c', f'echo $$ > {d}/pid; sleep 60 & wait') as worker:
            pid = read_pid(f'{d}/pid')
            check_eq(worker.stop(), 0)
            check_in('is given back', worker.err)
            check(not alive(pid), 'its command lives on')
        until(lambda: state(w, id) == 'queued', lambda: w.job(id))
        check_eq(w.job(id)['attempts'], 0)


@test
def a_second_signal_stops_at_once_and_the_job_goes_back():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        script = f'trap "" TERM; echo $$ > {d}/pid; while :; do sleep 0.05; done'
        with Worker(w, 'q', '--', 'sh', '-c', script) as worker:
            pid = read_pid(f'{d}/pid')
            worker.signal(signal.SIGTERM)
            worker.wait_err('finishing 1 job; a second signal ends it at once')
            worker.signal(signal.SIGTERM)
            check_eq(worker.wait(), 3)
            again = w.take('q', wait='20s')
            check(not alive(pid), 'its command lives on')
            check_eq(again[0]['id'], id)


@test
def an_idle_worker_ends_at_once():
    with Weir() as w:
        with Worker(w, 'q', '-j', '2', '--', 'true') as worker:
            until(lambda: len(w.get('/v1/queues').json['queues']) == 1, 'it never asked')
            start = time.monotonic()
            check_eq(worker.stop(), 0)
            check(time.monotonic() - start < 5, 'it waited for jobs')


def orphan_test(script, find_pids):
    """kill -9 of weir work: every process of the command dies, the job is given back at once and runs again elsewhere, never beside
    its orphan; the old lease is worth nothing."""
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q', b'once')
        with Worker(w, 'q', '--', 'sh', '-c', script.format(d=d)) as worker:
            pids = find_pids(d)
            check(all(alive(p) for p in pids), 'it does not run')
            check_eq(state(w, id), 'running')
            start = time.monotonic()
            worker.signal(signal.SIGKILL)
            again = w.take('q', wait='20s')
            took = time.monotonic() - start
            orphans = [p for p in pids if alive(p)]
            check_eq(orphans, [], 'whoever takes the job next finds nobody of the old run alive')
            check_eq(len(again), 1)
            check_eq(again[0]['id'], id)
            check(took < 5, f'the job came back only after {took:.1f} s')
            check_eq(w.ack(again[0], b'second').status, 200)
            check_eq(w.job(id)['result'], 'second')


@test
def kill_9_takes_the_command_along():
    orphan_test('echo $$ > {d}/pid; exec sleep 1000', lambda d: [read_pid(f'{d}/pid')])


@test
def kill_9_takes_the_commands_children_along():
    orphan_test('echo $$ > {d}/pid; sleep 1000 & echo $! > {d}/child; wait',
                lambda d: [read_pid(f'{d}/pid'), read_pid(f'{d}/child')])


@test
def kill_9_takes_children_that_hear_nothing_along():
    orphan_test('trap "" TERM HUP INT; echo $$ > {d}/pid; (trap "" TERM HUP INT; sh -c "echo \\$\\$ > {d}/child; '
                'while :; do sleep 1; done") & wait', lambda d: [read_pid(f'{d}/pid'), read_pid(f'{d}/child')])


@test
def a_late_ack_of_the_old_lease_gets_409():
    with Weir() as w:
        id = w.enqueue('q')
        c = w.connect()
        first = w.request('POST', '/v1/queues/q/take?lease=connection&wait=5s', conn=c).json[0]
        check_eq(first['id'], id)
        c.close()
        second = w.take('q', wait='20s')[0]
        check_eq(second['id'], id)
        late = w.ack(first, b'late')
        check_eq(late.status, 409)
        check_in('lease', late.text)
        check_eq(w.ack(second, b'good').status, 200)
        check_eq(w.job(id)['result'], 'good')


@test
def a_run_that_has_lost_its_lease_is_ended():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        with Worker(w, 'q', '--', 'sh', '-c', f'echo $$ > {d}/pid; exec sleep 1000') as worker:
            pid = read_pid(f'{d}/pid')
            w.stop(sig=signal.SIGKILL, expect=-signal.SIGKILL)
            worker.wait_err('is not ours any more')
            until(lambda: not alive(pid), 'its command lives on')
            worker.wait_err('the server is gone; trying again')
            check_eq(worker.stop(), 0)
        w.expect = -signal.SIGKILL


@test
def a_worker_comes_back_when_the_server_does():
    with Weir() as first:
        port = first.tls_port
        with Worker(first, 'q', '--', 'cat') as worker:
            until(lambda: first.get('/v1/queues').json['queues'], 'it never asked')
            first.stop()
            worker.wait_err('trying again')
            with Weir(listen=f'127.0.0.1:{port}') as second:
                id = second.enqueue('q', b'back')
                until(lambda: state(second, id) == 'done', lambda: f'{second.job(id)} {worker.err}')
                worker.wait_err('the server is back')
                check_eq(worker.stop(), 0)


@test
def without_a_server_it_says_so():
    status, out, err = cli('work', 'q', '--', 'true', env={'WEIR_SERVER': 'http://127.0.0.1:1'})
    check_eq(status, 4)
    check_in('no server at http://127.0.0.1:1', err)


if __name__ == '__main__':
    main()
