# SPDX-License-Identifier: MIT
"""The stop: under load, with handlers that never return, with a second signal; what the report and the exit status say."""
from weirtest import *

STUCK = os.path.join(os.path.dirname(program()), 'tests', 'stuck')


class KeepAlive(threading.Thread):
    """A client that sends one request after the other on one connection until the server says goodbye."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.answered, self.closing, self.lost = w, 0, 0, []

    def run(self):
        raw = self.w.raw()
        try:
            while True:
                if select.select([raw.sock], [], [], 0)[0]:
                    if raw.sock.recv(1, socket.MSG_PEEK):
                        self.lost.append('bytes that nobody asked for')
                    return
                raw.send('POST /v1/queues/load/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx')
                a = raw.answer()
                if a is None:
                    self.lost.append('a request without an answer')
                    return
                if a.status not in (202, 503):
                    self.lost.append(a)
                self.answered += 1
                if a.headers.get('connection') == 'close':
                    self.closing += 1
                    if raw.sock.recv(1):
                        self.lost.append('bytes behind the last answer')
                    return
        except OSError as e:
            self.lost.append(e)
        finally:
            raw.close()


def report(text):
    m = re.search(r'report: http: (\d+) finished, (\d+) cut', text)
    j = re.search(r'report: jobs: (\d+) finished, (\d+) failed, (\d+) returned, (\d+) kept', text)
    check(m and j, lambda: f'no report in {text[-2000:]}')
    return [int(x) for x in m.groups()], [int(x) for x in j.groups()]


@test
def a_log_that_nobody_reads_keeps_neither_the_server_nor_its_stop():
    data = tempfile.mkdtemp(prefix='weir-test-')
    there, err = os.pipe()
    os.set_blocking(err, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(err, b'x' * 4096)
    os.set_blocking(err, True)
    server = subprocess.Popen([program(), 'serve', '--listen', f'unix:{data}/s', '--data', data], stderr=err)
    os.close(err)

    def answer():
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT)
            try:
                s.connect(f'{data}/s')
                s.sendall(b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
                return s.recv(100)
            except OSError:
                return b''
    try:
        until(lambda: answer().startswith(b'HTTP/1.1 200'), 'it does not serve')
        server.send_signal(signal.SIGUSR1)
        os.read(there, 8192)  # From now on there is room for some lines.
        server.send_signal(signal.SIGTERM)
        check_eq(server.wait(LIMIT), 0)
        rest = b''
        while more := os.read(there, 65536):
            rest += more
        check(re.search(rb'warn log: \d+ lines are missing here', rest), rest[-500:])
    finally:
        server.kill()
        server.wait()
        os.close(there)
        shutil.rmtree(data)


@test
def sigterm_under_load_loses_nothing_and_says_so():
    data = tempfile.mkdtemp(prefix='weir-test-')
    try:
        # The workers that never answer keep their jobs until two thirds of the budget are used up.
        with Weir('--queue-max', '1000', '--grace', '9s', data=data) as w:
            queued = [w.enqueue('later', b'%d' % n) for n in range(100)]
            for n in range(50):
                w.enqueue('now', b'%d' % n)
            workers = []
            for n in range(50):
                raw = w.raw()
                raw.send('POST /v1/queues/now/take?lease=connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
                [job] = raw.answer().json
                workers.append((raw, job))
            streams = [w.events(f'/v1/subjects/nothing.{n % 4}/events') for n in range(200)]
            check(all(s.status == 200 for s in streams))
            idle = [w.raw() for _ in range(16)]
            for raw in idle:
                raw.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
                check_eq(raw.answer().status, 200)
            clients = [KeepAlive(w) for _ in range(64)]
            for c in clients:
                c.start()
            until(lambda: all(c.answered > 3 for c in clients), 'the clients do not get on')
            mark = len(w.err)
            w.signal(signal.SIGTERM)
            w.wait_err('stopping: ', start=mark)  # What is acked from now on is counted.
            for raw, job in workers[:25]:
                raw.send(f'POST /v1/jobs/{job["id"]}/ack?lease={job["lease"]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
            acks = [raw.answer() for raw, job in workers[:25]]
            check_eq([a and a.status for a in acks], [200] * 25)
            for c in clients:
                c.join(30)
            check_eq([x for c in clients for x in c.lost], [])
            for s in streams:
                check_eq(s.all(), [])
                check(s.clean, 'a stream was cut')
                check(s.retry and s.retry > 0, 'no retry: at the end of a stream')
            for raw in idle:
                check_eq(raw.read_all(), b'')
            check_eq(w.wait(), 0)
            said = w.err[mark:]
            (finished, cut), (done, failed, returned, kept) = report(said)
            # Who was answered in the drain was told so. (Its beginning reaches the connections a moment after the report's.)
            closing = sum(c.closing for c in clients) + sum(a.headers.get('connection') == 'close' for a in acks)
            check_eq((finished, cut), (200 + closing, 0))
            check_eq((done, failed, returned), (25, 0, 25))
            check(said.rstrip().split('\n')[-1].count('stopped cleanly'), said[-300:])
        loaded = kept - 100 - 25
        with Weir('--queue-max', '1000000', data=data) as w:
            check_eq([j['id'] for j in w.take('later', max=100)], queued)
            check_eq(w.get('/v1/queues/now').json['queued'], 25)
            again = {j['id'] for j in w.take('now', max=100)}
            check_eq(again, {job['id'] for raw, job in workers[25:]})
            if loaded:
                check_eq(w.get('/v1/queues/load').json['queued'], loaded)
    finally:
        shutil.rmtree(data, ignore_errors=True)


class Stuck(Program):
    def __init__(self, grace='2s', workers='1'):
        super().__init__([STUCK], env={'WEIR_GRACE': grace, 'WEIR_WORKERS': workers})
        self.port = int(self.wait_err(r'listening on 127\.0\.0\.1:(\d+)').group(1))
        if OVER_H2:
            self.port = gateway(self.port).port

    def ask(self, path):
        raw = Raw(self.port)
        raw.send(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n')
        return raw


def cut_at_the_budget(path, where):
    s = Stuck()
    try:
        raw = s.ask(path)
        time.sleep(0.2)  # There is no event for "the handler spins": its worker cannot answer any more.
        start = time.monotonic()
        s.signal(signal.SIGTERM)
        status = s.wait(30)
        took = time.monotonic() - start
        check_eq(status, 3, s.err)
        check(1.9 < took < 4, f'it took {took} s')
        peer = r'\d+' if OVER_H2 else raw.sock.getsockname()[1]
        check(re.search(rf'cut: GET {path} from 127\.0\.0\.1:{peer} after .*{where}', s.err), s.err)
        check_in('1 cut', s.err)
    finally:
        s.kill()


@test
def a_handler_that_waits_deaf_to_cancel_is_cut_at_the_budget_and_named():
    cut_at_the_budget('/deaf', 'waiting in sleep for')


@test
def a_handler_that_spins_on_the_only_worker_is_cut_at_the_budget_and_named():
    cut_at_the_budget('/spin', 'running on worker 0')


@test
def a_handler_that_blocks_in_read_is_cut_at_the_budget_and_named():
    cut_at_the_budget('/block', 'running on worker 0')


@test
def a_handler_that_hears_cancel_is_cut_before_the_budget_and_named():
    s = Stuck(grace='3s', workers='2')
    try:
        raw = s.ask('/slow')
        hello = s.ask('/hello')
        check_in(b'200', hello.read_until(b'hello\n'))
        start = time.monotonic()
        s.signal(signal.SIGTERM)
        check_eq(s.wait(30), 3, s.err)
        check(time.monotonic() - start < 2.9, 'the whole budget was used')
        check(re.search(r'cut: GET /slow from .* waiting in sleep for', s.err), s.err)
        check_in('report: http: 0 finished, 1 cut', s.err)
        check_eq(raw.answer(), None)
    finally:
        s.kill()


@test
def a_service_that_fails_ends_the_program_with_its_reason():
    p = Stuck(grace='30s')
    s = p.ask('/break')
    check_in(b'broken', s.read_until(b'broken\n'))
    check_eq(p.wait(), 1)
    p.wait_err(r'owner failed: Input/output error; so the server stops')
    p.wait_err(r'weir stopped after .*: Input/output error')


@test
def a_stop_that_a_failed_service_began_has_a_budget_as_any():
    p = Stuck(grace='2s')
    p.ask('/deaf')
    p.wait_err('deaf runs')
    p.ask('/break')
    check_eq(p.wait(), 3)
    p.wait_err(r'cut: GET /deaf from 127.0.0.1')


@test
def a_second_signal_stops_at_once():
    s = Stuck(grace='60s', workers='2')
    try:
        raw = s.ask('/deaf')
        s.wait_err('deaf runs')
        s.signal(signal.SIGTERM)
        s.wait_err('step listeners-closed')
        start = time.monotonic()
        s.signal(signal.SIGTERM)
        check_eq(s.wait(30), 3, s.err)
        check(time.monotonic() - start < 2)
        check_in('a second signal', s.err)
        check_in('cut: GET /deaf', s.err)
        raw.close()
    finally:
        s.kill()


@test
def a_second_signal_to_weir_names_the_request_that_it_cuts():
    with Weir(expect=3) as w:
        raw = w.raw()
        raw.send('POST /v1/queues/q/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf')
        until(lambda: w.get('/v1/status').json['http']['active'] == 2, 'the request does not run')
        w.signal(signal.SIGTERM)
        w.wait_err('stopping: ')
        start = time.monotonic()
        w.signal(signal.SIGTERM)
        check_eq(w.wait(), 3)
        check(time.monotonic() - start < 2)
        check(re.search(r'cut: POST /v1/queues/\{queue\}/jobs from 127\.0\.0\.1:\d+ after .* waiting in', w.err), w.err)


@test
def drain_over_http_stops_as_a_signal_does():
    with Weir() as w:
        a = w.post('/v1/drain')
        check_eq((a.status, a.json['draining']), (202, True))
        check_eq(w.wait(), 0)
        check_in('stopped cleanly', w.err)


@test
def a_worker_finishes_its_job_over_the_connection_that_holds_the_lease():
    with Weir() as w:
        id = w.enqueue('q')
        raw = w.raw()
        raw.send('POST /v1/queues/q/take?lease=connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
        [job] = raw.answer().json
        other = w.raw()
        other.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
        check_eq(other.answer().status, 200)
        w.signal(signal.SIGTERM)
        check_eq(other.read_all(), b'')  # Idle connections have been closed by now; the worker's has not.
        target = f'/v1/jobs/{id}/%s?lease={job["lease"]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n'
        raw.send('POST ' + target % 'extend')
        a = raw.answer()
        check_eq((a.status, a.headers.get('connection')), (200, None))
        raw.send('POST ' + target % 'ack')
        a = raw.answer()
        check_eq((a.status, a.headers.get('connection')), (200, 'close'))
        check_eq(w.wait(), 0)
        check_in('report: jobs: 1 finished, 0 failed, 0 returned', w.err)


@test
def a_waiting_take_hears_the_drain():
    with Weir() as w:
        raw = w.raw()
        raw.send('POST /v1/queues/q/take?wait=60s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n')
        until(lambda: w.get('/v1/status').json['http']['active'] >= 2, 'the take does not run')
        start = time.monotonic()
        w.signal(signal.SIGTERM)
        a = raw.answer()
        check_eq(a.status, 503)
        check_in('retry-after', a.headers)
        check_eq(w.wait(), 0)
        check(time.monotonic() - start < 5)


@test
def streams_that_are_tasks_end_cleanly_too():
    with Weir() as w:
        job = w.events(f'/v1/jobs/{w.enqueue("q")}/events')
        group = w.events('/v1/subjects/a.b/events?group=g')
        check_eq(job.next()['event'], 'queued')
        w.signal(signal.SIGTERM)
        for s in (job, group):
            check_eq(s.all(), [])
            check(s.clean and s.retry, 'no retry:, or cut')
            s.close()
        check_eq(w.wait(), 0)
        check_in('report: http: 2 finished, 0 cut', w.err)


@test
def drain_wait_keeps_accepting_while_not_ready():
    with Weir('--drain-wait', '2s') as w:
        check_eq(w.get('/readyz').status, 200)
        w.signal(signal.SIGTERM)
        a = until(lambda: (lambda a: a.status == 503 and a)(w.get('/readyz')), 'it stays ready')
        check_eq(a.headers.get('connection'), 'close')
        check_eq(w.post('/v1/queues/q/jobs', b'x').status, 202)
        check_eq(w.wait(), 0)


@test
def systemd_is_told_of_readiness_and_of_the_stop():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, 'notify')
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(path)
        s.settimeout(LIMIT)
        with Weir(env={'NOTIFY_SOCKET': path}) as w:
            check_eq(s.recv(100), b'READY=1')
            w.signal(signal.SIGTERM)
            check_eq(s.recv(100), b'STOPPING=1')
            w.wait()


@test
def a_socket_passed_by_systemd_is_served():
    listener = socket.create_server(('127.0.0.1', 0))
    os.set_inheritable(listener.fileno(), True)
    port = listener.getsockname()[1]
    data = tempfile.mkdtemp(prefix='weir-test-')
    p = Program(['bash', '-c', f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve --data "$1"',
                 program(), data], close_fds=False)
    try:
        p.wait_err(rf'listening on http://127\.0\.0\.1:{port}\b')
        raw = Raw(port)
        raw.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
        check_eq(raw.answer().status, 200)
        p.signal(signal.SIGTERM)
        check_eq(p.wait(), 0, p.err)
        p.check_clean()
    finally:
        p.kill()
        listener.close()
        shutil.rmtree(data, ignore_errors=True)


@test
def a_public_socket_that_was_passed_is_warned_of():
    listener = socket.create_server(('0.0.0.0', 0))
    os.set_inheritable(listener.fileno(), True)
    with tempfile.TemporaryDirectory() as data:
        p = Program(['bash', '-c', f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve --data "$1"',
                     program(), data], close_fds=False)
        try:
            p.wait_err('reachable from other machines and asks for no token')
            p.wait_err('listening on')
            p.signal(signal.SIGTERM)
            check_eq(p.wait(), 0, p.err)
        finally:
            p.kill()
            listener.close()


@test
def a_second_weir_on_the_data_directory_is_refused_and_told_the_pid():
    with Weir() as w:
        status, out, err = cli('serve', '--data', w.data, '--listen', '127.0.0.1:0')
        check_eq(status, 1)
        check_in(f'pid {w.pid}', err)
    data = tempfile.mkdtemp(prefix='weir-test-')
    try:
        w = Weir(data=data)
        w.kill()
        with Weir(data=data):
            pass
    finally:
        shutil.rmtree(data, ignore_errors=True)


@test
def a_spool_that_cannot_be_read_is_left_alone_and_said_so():
    with tempfile.TemporaryDirectory() as d:
        with Weir('--store', 'mem', data=d) as w:
            w.enqueue('q', b'kept')
        path = os.path.join(d, 'spool')
        with open(path, 'rb') as f:
            good = f.read()
        for bad in (b'nonsense', good[:-1], good[:30] + bytes([good[30] ^ 1]) + good[31:], good + b'x'):
            with open(path, 'wb') as f:
                f.write(bad)
            status, out, err = cli('serve', '--data', d, '--listen', '127.0.0.1:0')
            check_eq((bad, status), (bad, 1), err)
            check_in('spool', err)
            with open(path, 'rb') as f:
                check_eq(f.read(), bad)
        with open(path, 'wb') as f:
            f.write(good)
        with Weir(data=d) as w:
            check_eq([j['payload'] for j in w.take('q')], ['kept'])


@test
def what_the_configuration_names_goes_on_where_it_was_after_a_restart():
    with tempfile.TemporaryDirectory() as d:
        config = os.path.join(d, 'weir.yaml')
        with open(config, 'w') as f:
            f.write('queues: {mail: {concurrency: 2}}\n'
                    'crons: {report: {schedule: "@every 1h", queue: mail}}\n')
        with Weir('--config', config, data=d) as w:
            check_eq(w.post('/v1/queues/mail/pause').json['paused'], True)
            due = w.get('/v1/crons/report').json['next_at']
        with Weir('--config', config, data=d) as w:
            q = w.get('/v1/queues/mail').json
            check_eq((q['paused'], q['settings']['concurrency']), (True, 2))
            check_eq(w.get('/v1/crons/report').json['next_at'], due)
            check_eq(w.post('/v1/queues/mail/resume').json['paused'], False)


@test
def every_line_of_a_json_log_is_json():
    with Weir('--log', 'json') as w:
        w.enqueue('q')
        w.stop()
        lines = [json.loads(l) for l in w.err.splitlines()]
        check(all(l['time'] and l['level'] and l['area'] and l['msg'] for l in lines), w.err)
        check_in('stopped cleanly', lines[-1]['msg'])


@test
def an_address_in_use_is_said_so():
    with Weir() as w, tempfile.TemporaryDirectory() as d:
        status, out, err = cli('serve', '--data', d, '--listen', w.addr.replace('http://', ''))
        check_eq(status, 1)
        check_in('cannot listen on', err)


if __name__ == '__main__':
    main()
