#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every client subcommand against a running server: what it prints, what it says, how it ends."""
import os
import pty
import signal
import tempfile

from weirtest import *


def run(w, *args, status=0, input=b'', **kw):
    """Standard output of a subcommand that has to end with `status`, and what it said."""
    got, out, err = cli(*args, input=input, env={'WEIR_SERVER': w.url, **kw.pop('env', {})}, **kw)
    check_eq(got, status, f'{args}: {err}')
    return out.decode(), err


class Client(Program):
    """A subcommand that goes on."""

    def __init__(self, w, *args, **kw):
        super().__init__([program(), *args], env={'WEIR_SERVER': w.url if isinstance(w, Weir) else w}, **kw)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if self.proc.poll() is None:
            self.kill()
        if kind is None:
            self.check_clean()
        return False

    def stop(self, sig=signal.SIGTERM):
        self.signal(sig)
        return self.wait()


def streaming(w, n=1):
    """Waits until n streams are open."""
    until(lambda: w.get('/v1/status').json['streams'] >= n, 'no stream was opened')


# ---- enqueue ----

@test
def enqueue_prints_the_id():
    with Weir() as w:
        out, err = run(w, 'enqueue', 'mail', 'hello')
        check(re.fullmatch(r'[0-9A-Z]{26}\n', out), out)
        check_eq(err, '')
        check_eq(w.get(f'/v1/jobs/{out.strip()}?payload=true').json['payload'], 'hello')


@test
def enqueue_reads_standard_input():
    with Weir() as w:
        for args in (['mail'], ['mail', '-']):
            out, _ = run(w, 'enqueue', *args, input=b'from a pipe\n')
            check_eq(w.get(f'/v1/jobs/{out.strip()}?payload=true').json['payload'], 'from a pipe\n')


@test
def enqueue_sends_all_its_flags():
    with Weir() as w:
        out, _ = run(w, 'enqueue', 'mail', 'x', '--delay', '1h', '--priority', '-5', '--attempts', '3', '--timeout', '5s',
                     '--key', 'k', '--idempotency-key', 'i', '--content-type', 'text/plain', '--json')
        verdict = json.loads(out)
        check_eq((verdict['queue'], verdict['state'], verdict['durability']), ('mail', 'delayed', 'fsync'))
        job = w.job(verdict['id'])
        check_eq((job['priority'], job['max_attempts'], job['content_type']), (-5, 3, 'text/plain'))
        again, _ = run(w, 'enqueue', 'mail', 'y', '--idempotency-key', 'i')
        check_eq(again.strip(), verdict['id'])


@test
def enqueue_waits_for_the_result():
    with Weir() as w:
        with Client(w, 'work', 'mail', '--', 'tr', 'a-z', 'A-Z'):
            check_eq(run(w, 'enqueue', 'mail', 'shout', '--wait')[0], 'SHOUT')
            check_eq(json.loads(run(w, 'enqueue', 'mail', 'shout', '--wait', '--json')[0])['state'], 'done')
        with Client(w, 'work', 'bad', '--', 'sh', '-c', 'exit 100'):
            out, err = run(w, 'enqueue', 'bad', 'x', '--wait', status=1)
            check_in('the job is dead: exit status 100', err)
            check_eq(out, '')


@test
def enqueue_of_a_job_that_is_cancelled_ends():
    with Weir() as w:
        with Client(w, 'enqueue', 'mail', 'x', '--wait') as c:
            id = until(lambda: [j['id'] for j in w.get('/v1/queues/mail/jobs').json['jobs']] if w.get('/v1/queues/mail').status == 200
                       else None)[0]
            w.delete(f'/v1/jobs/{id}')
            check_eq(c.wait(), 1)
            check_in('the job is cancelled', c.err)


@test
def enqueue_takes_a_job_a_line():
    with Weir() as w, tempfile.NamedTemporaryFile() as f:
        f.write(b''.join(b'line %d\n' % i for i in range(1201)) + b'\n\xff\xfe bytes\r\nno end')
        f.flush()
        out, err = run(w, 'enqueue', 'many', '--from-file', f.name, '--priority', '7')
        check_eq((out, err), ('', 'weir: 1203 jobs are in many\n'))
        check_eq(w.get('/v1/queues/many').json['queued'], 1203)
        payloads = [base64.b64decode(j['payload_base64']) if 'payload_base64' in j else j['payload'].encode()
                    for _ in range(13) for j in w.take('many', max=100)]
        check_eq(payloads[:2] + payloads[1200:], [b'line 0', b'line 1', b'line 1200', b'\xff\xfe bytes', b'no end'])
        out, _ = run(w, 'enqueue', 'few', '--from-file', '-', '--json', input=b'a\nb\n')
        check_eq([json.loads(l)['queue'] for l in out.splitlines()], ['few', 'few'])


@test
def enqueue_of_lines_waits_for_room_and_loses_none():
    with Weir('--queue-max', '10') as w:
        with Client(w, 'enqueue', 'q', '--from-file', '-', stdin=subprocess.PIPE) as c:
            c.proc.stdin.write(b''.join(b'%d\n' % i for i in range(35)))
            c.proc.stdin.close()
            c.wait_err('q is full; going on when there is room')
            got = []

            def take():
                for j in w.take('q', max=10):
                    got.append(int(j['payload']))
                    w.ack(j)
                return len(got) == 35
            until(take, lambda: f'{got} {c.err}')
            check_eq(c.wait(), 0)
            check_eq(sorted(got), list(range(35)))
            check_in('weir: 35 jobs are in q', c.err)


@test
def enqueue_into_a_full_queue_says_when_to_try_again():
    with Weir('--queue-max', '1') as w:
        run(w, 'enqueue', 'mail', 'x')
        out, err = run(w, 'enqueue', 'mail', 'x', status=1)
        check(re.fullmatch(r'weir: mail: .*full.* \(503, try again in \d+ s\)\n', err), err)


# ---- jobs and queues ----

@test
def jobs_lists_shows_cancels_and_retries():
    with Weir() as w:
        ids = [w.enqueue('mail', b'x' * i) for i in range(3)]
        out, _ = run(w, 'jobs', 'mail')
        rows = [l.split() for l in out.splitlines()]
        check_eq(rows[0][:2], ['ID', 'STATE'])
        check_eq([r[:2] for r in rows[1:]], [[i, 'queued'] for i in ids])
        shown, _ = run(w, 'jobs', 'cancel', ids[1])
        check(re.search(r'^state +cancelled$', shown, re.M), shown)
        check_eq([l.split()[0] for l in run(w, 'jobs', 'mail', '--state', 'cancelled')[0].splitlines()[1:]], [ids[1]])
        check(re.search(r'^state +queued$', run(w, 'jobs', 'retry', ids[1])[0], re.M))
        job, = w.take('mail')
        shown, _ = run(w, 'jobs', 'cancel', job['id'])
        check(re.search(r'^state +running, to be cancelled$', shown, re.M), shown)
        w.post(f'/v1/jobs/{job["id"]}/nack?lease={job["lease"]}')
        check(re.search(r'^state +cancelled$', run(w, 'jobs', job['id'])[0], re.M))
        check_eq(json.loads(run(w, 'jobs', ids[1], '--json')[0])['state'], 'queued')
        _, err = run(w, 'jobs', 'cancel', ids[0][:-1] + ('0' if ids[0][-1] != '0' else '1'), status=1)
        check_in('(404)', err)
        check_in('mail holds no such jobs', run(w, 'jobs', 'mail', '--state', 'dead')[1])


@test
def jobs_lists_more_than_a_page():
    with Weir() as w:
        run(w, 'enqueue', 'q', '--from-file', '-', input=b''.join(b'%d\n' % i for i in range(250)))
        check_eq(len(run(w, 'jobs', 'q')[0].splitlines()), 101)
        check_eq(len({l for l in run(w, 'jobs', 'q', '--limit', '230', '--json')[0].splitlines()}), 230)
        check_eq(len(run(w, 'jobs', 'q', '--limit', '1000')[0].splitlines()), 251)


@test
def queues_lists_shows_pauses_and_redrives():
    with Weir() as w:
        check_in('no queues yet', run(w, 'queues')[1])
        w.enqueue('mail')
        w.enqueue('other')
        rows = [l.split() for l in run(w, 'queues')[0].splitlines()]
        check_eq([r[0] for r in rows], ['QUEUE', 'mail', 'other'])
        check_eq(rows[1][1], '1')
        run(w, 'queues', 'pause', 'mail')
        check(re.search(r'^mail .* paused$', run(w, 'queues')[0], re.M), 'not paused')
        check_eq(w.take('mail', wait='0s'), [])
        run(w, 'queues', 'resume', 'mail')
        run(w, 'work', 'mail', '--once', '--', 'sh', '-c', 'exit 100', status=1)
        check_eq(run(w, 'queues', 'redrive', 'mail')[0], '1 job is back in mail\n')
        check(re.search(r'^queued +1$', run(w, 'queues', 'mail')[0], re.M), 'not back')
        check_eq(json.loads(run(w, 'queues', 'mail', '--json')[0])['name'], 'mail')
        check_in('nosuch: ', run(w, 'queues', 'nosuch', status=1)[1])


@test
def a_redrive_into_a_full_queue_says_what_stays_and_why():
    with Weir('--queue-max', '2') as w:
        for i in range(2):
            w.enqueue('q', Weir_Max_Attempts='1')
            run(w, 'work', 'q', '--once', '--', 'false', status=1)
        w.enqueue('q')
        check_eq(run(w, 'queues', 'redrive', 'q')[0], '1 job is back in q\n1 job is left among the dead: the queue is full\n')
        check_in('none came back, 1 stays dead: the queue is full', run(w, 'queues', 'redrive', 'q', status=1)[1])
        a = w.post('/v1/queues/q/redrive')
        check_eq(a.status, 503)
        check_in('retry-after', a.headers)


@test
def columns_are_aligned():
    with Weir() as w:
        w.enqueue('a')
        w.enqueue('a-much-longer-name')
        lines = run(w, 'queues')[0].splitlines()
        ends = [m.end() for m in re.finditer(r'\S+', lines[0])]
        for line in lines[1:]:
            check_eq([m.end() for m in re.finditer(r'\S+', line)][1:7], ends[1:7], line)


def on_terminal(w, *args, env=None):
    """What a subcommand writes to a terminal."""
    master, slave = os.openpty()
    p = subprocess.Popen([program(), *args], stdout=slave, stdin=subprocess.DEVNULL,
                         env={**{k: v for k, v in os.environ.items() if k != 'NO_COLOR'}, 'WEIR_SERVER': w.url, **(env or {})})
    os.close(slave)
    text = b''
    with contextlib.suppress(OSError):  # a terminal ends with EIO
        while chunk := os.read(master, 4096):
            text += chunk
    os.close(master)
    check_eq(p.wait(), 0)
    return text


@test
def pipes_get_no_colours_and_terminals_do():
    with Weir() as w:
        w.enqueue('mail')
        check('\033' not in run(w, 'jobs', 'mail')[0], 'colour in a pipe')
        check_in(b'\033[1mID', on_terminal(w, 'jobs', 'mail'))
        check(b'\033' not in on_terminal(w, 'jobs', 'mail', env={'NO_COLOR': '1'}), 'colour in spite of NO_COLOR')


@test
def payloads_cannot_command_a_terminal_but_pass_a_pipe_unchanged():
    with Weir() as w:
        evil = b'\033]0;title\007\xc2\x9b31m red \xc3\xa9'
        with Client(w, 'work', 'q', '--', 'cat'):
            check_eq(run(w, 'enqueue', 'q', '--wait', input=evil)[0].encode(), evil)
            with Client(w, 'reply', 's', '--', 'printf', '\\033[31mx'):
                streaming(w)
                check_eq(on_terminal(w, 'request', 's', 'x', '--timeout', '10s'), b'.[31mx\r\n')
            w.post('/v1/queues/q/jobs', evil, headers={'Idempotency-Key': 'k'})
            check_eq(on_terminal(w, 'enqueue', 'q', 'x', '--idempotency-key', 'k', '--wait'),
                     b'.]0;title..31m red \xc3\xa9\r\n')


# ---- messages ----

@test
def subscribe_prints_what_is_published():
    with Weir() as w:
        with Client(w, 'subscribe', 'orders.*', '-n', '2') as c:
            streaming(w)
            check_eq(run(w, 'publish', 'orders.new', 'first')[0], '1\n')
            run(w, 'publish', 'other', 'not this')
            check_eq(json.loads(run(w, 'publish', 'orders.old', '--json', input=b'second')[0]), {'delivered': 1})
            check_eq(c.wait(), 0)
            check_eq(c.out, b'first\nsecond\n')


@test
def subscribe_gives_json_with_subjects():
    with Weir() as w:
        with Client(w, 'subscribe', 'a.>', '--json', '-n', '1') as c:
            streaming(w)
            run(w, 'publish', 'a.b.c', 'x\ny')
            check_eq(c.wait(), 0)
            check_eq(json.loads(c.out), {'subject': 'a.b.c', 'data': 'x\ny'})


@test
def subscribe_ends_cleanly_when_asked():
    with Weir() as w:
        for sig in (signal.SIGTERM, signal.SIGINT):
            with Client(w, 'subscribe', 'a') as c:
                streaming(w)
                check_eq(c.stop(sig), 0)
                check_eq(c.err, '')
            until(lambda: w.get('/v1/status').json['streams'] == 0)


@test
def subscribe_misses_nothing_over_a_lost_connection():
    """A proxy stands between, and cuts the stream after the first message."""
    with Weir() as w:
        cut, up = threading.Event(), threading.Event()
        listener = socket.create_server(('127.0.0.1', 0))
        streams = []

        def pump(a, b):
            try:
                while d := a.recv(65536):
                    b.sendall(d)
            except OSError:
                pass
            for s in (a, b):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)

        def accept():
            while True:
                try:
                    a, _ = listener.accept()
                except OSError:
                    return
                if cut.is_set() and not up.is_set():
                    a.close()
                    continue
                b = socket.create_connection(('127.0.0.1', w.port))
                streams.append((a, b))
                threading.Thread(target=pump, args=(a, b), daemon=True).start()
                threading.Thread(target=pump, args=(b, a), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        with Client(f'http://127.0.0.1:{listener.getsockname()[1]}', 'subscribe', 's', '-n', '4') as c:
            streaming(w)
            run(w, 'publish', 's', 'one')
            c.wait_out(b'one\n')
            cut.set()
            for s in (s for pair in streams for s in pair):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
            c.wait_err('the server is gone; trying again')
            run(w, 'publish', 's', 'two')
            run(w, 'publish', 's', 'three')
            up.set()
            c.wait_err('connected again')
            c.wait_out(b'three\n')
            run(w, 'publish', 's', 'four')
            check_eq(c.wait(), 0)
            check_eq(c.out, b'one\ntwo\nthree\nfour\n')
        listener.close()


@test
def request_gets_the_answer_of_reply():
    with Weir() as w:
        with Client(w, 'reply', 'upper.*', '-j', '2', '--', 'sh', '-c', 'tr a-z A-Z; echo " $WEIR_SUBJECT"') as c:
            streaming(w)
            check_eq(run(w, 'request', 'upper.case', 'hello', '--timeout', '10s')[0], 'HELLO upper.case\n')
            check_eq(json.loads(run(w, 'request', 'upper.case', 'a', '--timeout', '10s', '--json')[0])['data'], 'A upper.case\n')
            run(w, 'publish', 'upper.x', 'no answer wanted')
            c.wait_err('wants no answer')
            check_eq(c.stop(), 0)


@test
def request_without_anybody_fails_at_once():
    with Weir() as w:
        start = time.monotonic()
        _, err = run(w, 'request', 'nobody', 'x', '--timeout', '1m', status=1)
        check_in('nobody answers', err)
        check(time.monotonic() - start < 10, 'it waited')


@test
def request_to_a_failing_command_ends_in_time():
    with Weir() as w:
        with Client(w, 'reply', 'bad', '--', 'false') as c:
            streaming(w)
            _, err = run(w, 'request', 'bad', 'x', '--timeout', '300ms', status=1)
            check_in('(504)', err)
            c.wait_err('false ended with 1: no answer')


# ---- the server ----

@test
def status_and_tasks():
    with Weir() as w:
        w.enqueue('mail')
        out, _ = run(w, 'status')
        check(re.search(r'^jobs +1 queued', out, re.M), out)
        check(re.search(r'^listens on +127\.0\.0\.1:', out, re.M), out)
        check_eq(json.loads(run(w, 'status', '--json')[0])['pid'], w.pid)
        out, _ = run(w, 'tasks')
        check(re.search(r'^ *1 +root ', out, re.M), out)
        check(json.loads(run(w, 'tasks', '--json')[0])['total'] >= 3)


@test
def drain_waits_until_the_server_has_gone():
    with Weir() as w:
        _, err = run(w, 'drain')
        check_in('the server has gone', err)
        check_eq(w.wait(), 0)


@test
def drain_shows_what_still_runs():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        id = w.enqueue('q')
        with Client(w, 'work', 'q', '--', 'sh', '-c', f'while [ ! -e {d}/go ]; do sleep 0.02; done') as worker:
            until(lambda: w.job(id)['state'] == 'running')
            with Client(w, 'drain') as c:
                c.wait_err('finishes what it has and stops')
                # No new connection is taken any more, and still it tells.
                c.wait_err('stopping: 1 jobs running, 1 connections, .* left')
                open(f'{d}/go', 'w').close()
                check_eq(c.wait(), 0)
                check_in('the server has gone', c.err)
        check_eq(w.wait(), 0)


@test
def version_says_which():
    status, out, _ = cli('version', check_status=0)
    check(re.fullmatch(rb'weir \d+\.\d+\.\d+\n', out), out)
    check_eq(cli('--version')[1], out)
    check_in('version', json.loads(cli('version', '--json')[1]))


@test
def every_client_says_when_there_is_no_server():
    for args in (['status'], ['queues'], ['jobs', 'q'], ['tasks'], ['drain'], ['enqueue', 'q', 'x'], ['publish', 's', 'x'],
                 ['request', 's', 'x'], ['subscribe', 's'], ['reply', 's', '--', 'cat'], ['work', 'q', '--', 'cat'],
                 ['enqueue', 'q', '--from-file', '/dev/null', '--server', 'unix:/nonexistent']):
        if args[:2] == ['enqueue', 'q'] and '--from-file' in args:
            continue
        status, out, err = cli(*args, '--server', 'http://127.0.0.1:1') if '--' not in args else \
            cli(*args, env={'WEIR_SERVER': 'http://127.0.0.1:1'})
        check_eq(status, 4, args)
        check_in('no server at http://127.0.0.1:1; `weir serve` starts one', err)
        check_eq(out, b'')


@test
def a_server_that_is_none_is_told():
    s = socket.create_server(('127.0.0.1', 0))

    def answer():
        a, _ = s.accept()
        a.recv(4096)
        a.sendall(b'SSH-2.0-nonsense\r\n\r\n')
        a.close()
    threading.Thread(target=answer, daemon=True).start()
    status, out, err = cli('status', '--server', f'http://127.0.0.1:{s.getsockname()[1]}')
    check_eq(status, 4)
    check_in('no weir server', err)
    s.close()


@test
def unix_sockets_serve_clients_too():
    with tempfile.TemporaryDirectory() as d:
        with Weir(listen=['127.0.0.1:0', f'unix:{d}/s']) as w:
            status, out, err = cli('enqueue', 'q', 'x', '--server', f'unix:{d}/s')
            check_eq((status, err), (0, ''))
            check_eq(w.job(out.decode().strip())['queue'], 'q')


@test
def tokens_come_by_flag_environment_and_file():
    with tempfile.TemporaryDirectory() as d:
        with open(f'{d}/tokens', 'w') as f:
            f.write('boss s3cret-token-of-the-boss admin\n')
        os.chmod(f'{d}/tokens', 0o600)
        with open(f'{d}/mine', 'w') as f:
            f.write('s3cret-token-of-the-boss\n')
        with Weir('--token-file', f'{d}/tokens') as w:
            _, err = run(w, 'queues', status=1)
            check_in('WEIR_TOKEN', err)
            check_in('401', err)
            run(w, 'queues', '--token', 's3cret-token-of-the-boss')
            run(w, 'queues', env={'WEIR_TOKEN': 's3cret-token-of-the-boss'})
            run(w, 'queues', '--token-path', f'{d}/mine')
            run(w, 'queues', '--token-path', f'{d}/mine', env={'WEIR_TOKEN': 'a wrong one'})
            run(w, 'queues', '--token', 'wrong', status=1)


@test
def a_reader_that_leaves_ends_subscribe():
    with Weir() as w:
        p = subprocess.Popen([program(), 'subscribe', 's'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, env={**os.environ, 'WEIR_SERVER': w.url})
        streaming(w)
        p.stdout.close()
        run(w, 'publish', 's', 'x')
        check_eq(p.wait(LIMIT), 1)
        check_eq(p.stderr.read(), b'')
        p.stderr.close()


@test
def enqueue_from_a_file_tells_a_terminal_how_far_it_is():
    with Weir() as w, tempfile.NamedTemporaryFile() as f:
        f.write(b'one job\n' * 1200)
        f.flush()
        terminal, end = pty.openpty()
        p = subprocess.Popen([program(), 'enqueue', 'q', '--from-file', f.name, '--server', w.url], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=end)
        os.close(end)
        said = b''
        with contextlib.suppress(OSError):  # EIO: the other end has gone.
            while part := os.read(terminal, 4096):
                said += part
        os.close(terminal)
        check_eq(p.wait(), 0)
        seen = [int(n) for n in re.findall(rb'jobs, (\d+) %', said)]
        check(len(seen) == 3 and seen == sorted(seen) and seen[-1] == 100, said)
        check_eq(w.get('/v1/queues/q').json['queued'], 1200)


if __name__ == '__main__':
    main()
