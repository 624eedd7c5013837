# SPDX-License-Identifier: MIT
"""One table over all forms of workers: what becomes of a job that is done, fails, fails once, takes too long, is cancelled, or
whose worker is killed. The payload says which; every form has to come to the same end."""
import http.server

from engines import *
from nats_wire import *

WORKERS = os.path.join(os.path.dirname(program()), 'tests', 'workers')

# What each job has to come to: state, attempts, and a part of its error or its result.
ENDS = {
    'done': ('done', 1, 'result'),
    'failed': ('dead', 1, ''),
    'retried': ('done', 2, 'result'),
    'timed out': ('dead', 1, 'limit|lease ran out'),
    'cancelled': ('cancelled', 1, ''),
    'killed': ('done', 2, 'result'),
}
HEADERS = {'failed': {'Weir_Max_Attempts': 1}, 'timed out': {'Weir_Max_Attempts': 1, 'Weir_Timeout': '300ms'}}

SCRIPT = '''
case "$(cat)-$WEIR_ATTEMPT" in
failed-*|retried-1) echo no >&2; exit 3 ;;
timed*|cancelled-*) sleep 1000 ;;
killed-1) kill -9 %s ;;
*) printf result ;;
esac
'''


class Form:
    """Workers of the queue q of a server; play() lets one job happen."""
    config = ''
    store = ()  # flags that choose one

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        dir = self.stack.enter_context(tempfile.TemporaryDirectory())
        with open(f'{dir}/weir.yaml', 'w') as f:
            f.write(f'queues:\n  q:\n    backoff: 10ms\n{self.config}')
        self.w = self.stack.enter_context(NatsWeir('--config', f'{dir}/weir.yaml', *self.store))
        self.start()
        return self

    def __exit__(self, *e):
        self.end()
        return self.stack.__exit__(*e)

    def start(self):
        pass

    def end(self):
        pass

    def play(self, what):
        id = self.w.enqueue('q', what, **HEADERS.get(what, {}))
        self.work(what)
        if what == 'cancelled':
            until(lambda: self.w.job(id).get('state') == 'running', 'it does not run')
            self.w.delete(f'/v1/jobs/{id}')
            self.after_cancel()
        until(lambda: self.w.job(id).get('state') in ('done', 'dead', 'cancelled'), lambda: f'{what}: {self.w.job(id)}')
        job = self.w.job(id)
        return job['state'], job['attempts'], job.get('result') or job.get('error', '')

    def work(self, what):
        pass

    def after_cancel(self):
        pass


class Exec(Form):
    """A command that the server runs."""
    config = f'    exec: ["sh", "-c", {json.dumps(SCRIPT % "$$")}]\n'


class Work(Form):
    """weir work; it is the worker that is killed."""
    scheme = 'http'

    def run(self):
        url = self.scheme + self.w.url[self.w.url.index(':'):]
        return Program([program(), 'work', 'q', '--server', url, '--', 'sh', '-c', SCRIPT % '$PPID'])

    def start(self):
        self.worker = self.run()

    def work(self, what):
        if what == 'killed':
            check_eq(self.worker.wait(), -signal.SIGKILL)
            self.worker = self.run()

    def end(self):
        self.worker.kill()


class Grpc(Work):
    """weir work over streams of gRPC."""
    scheme = 'grpc'


class Webhook(Form):
    """Posts of the server; the receiver hangs up when it is killed."""

    def __enter__(self):
        stop = self.stop = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                what = self.rfile.read(int(self.headers['content-length'])).decode()
                first = self.headers['weir-attempt'] == '1'
                if what == 'killed' and first:
                    return
                if what in ('timed out', 'cancelled'):
                    stop.wait(LIMIT)
                    return
                self.send_response(500 if what == 'failed' or what == 'retried' and first else 200)
                self.end_headers()
                self.wfile.write(b'result')

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.config = f'    webhook: "http://127.0.0.1:{self.server.server_port}/"\n    webhook-private: true\n'
        return super().__enter__()

    def end(self):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


class Poll(Form):
    """Long polls over HTTP with the lease of a connection; whose client is killed closes it."""

    def verb(self, job, verb, query='', body=b''):
        a = self.w.request('POST', f'/v1/jobs/{job["id"]}/{verb}?lease={job["lease"]}{query}', body, conn=self.conn)
        check_eq(a.status, 200, a.text)
        return a.json

    def take(self, lease='connection'):
        self.conn = self.w.connect()
        [job] = self.w.request('POST', f'/v1/queues/q/take?wait=20s&lease={lease}', conn=self.conn).json
        return job

    def work(self, what):
        job = self.job = self.take('1s' if what == 'timed out' else 'connection')
        if what in ('failed', 'retried'):
            self.verb(job, 'nack', '&error=no')
        if what == 'killed':
            self.conn.close()
        if what in ('retried', 'killed'):
            job = self.take()
        if what in ('done', 'retried', 'killed'):
            self.verb(job, 'ack', body=b'result')

    def after_cancel(self):
        check_eq(self.verb(self.job, 'extend'), {'cancel': True})
        self.verb(self.job, 'nack', '&error=cancelled')


class Nats(Form):
    """Requests over NATS. The server does not see a client die: its lease runs out."""

    def start(self):
        self.c = self.w.nats()
        self.c.send(b'SUB _INBOX.me 1\r\n')

    def request(self, subject, body):
        text = json.dumps(body).encode()
        self.c.send(b'PUB %s _INBOX.me %d\r\n%s\r\n' % (subject.encode(), len(text), text))
        return json.loads(self.c.message()[4])

    def verb(self, job, verb, **more):
        answer = self.request(f'weir.jobs.{verb}', {'id': job['id'], 'lease': job['lease'], **more})
        check('status' not in answer, answer)
        return answer

    def take(self):
        [job] = self.request('weir.jobs.take.q', {'wait': '20s', 'lease': '1s', 'worker': 'python'})
        return job

    def work(self, what):
        job = self.job = self.take()
        if what in ('failed', 'retried'):
            self.verb(job, 'nack', error='no')
        if what in ('retried', 'killed'):
            job = self.take()
        if what in ('done', 'retried', 'killed'):
            self.verb(job, 'progress', progress=0.5, note='half')
            self.verb(job, 'ack', result='result')

    def after_cancel(self):
        check_eq(self.verb(self.job, 'extend'), {'cancel': True})
        self.verb(self.job, 'nack', error='cancelled')

    def end(self):
        self.c.close()


class Handler(Form):
    """A C handler in the process that holds the store, which is killed with it."""

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *e):
        self.dir.cleanup()

    def play(self, what):
        args = [WORKERS, f'sqlite:{self.dir.name}/{what.replace(" ", "-")}.db']
        p = subprocess.run(args + [what], capture_output=True, text=True, timeout=60)
        if what == 'killed':
            check_eq(p.returncode, -signal.SIGKILL, p.stderr)
            p = subprocess.run(args, capture_output=True, text=True, timeout=60)
        check_eq(p.returncode, 0, p.stderr)
        state, attempts, rest = p.stdout.rstrip('\n').split(' ', 2)
        return state, int(attempts), rest


def has_sqlite():
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.run([WORKERS, f'sqlite:{d}/x.db', 'done'], capture_output=True, text=True, timeout=60)
        return p.returncode == 0


def has_grpc():
    """A program without gRPC refuses the URL before it asks a server."""
    p = subprocess.run([program(), 'publish', '--server', 'grpc://127.0.0.1:1', 's', 'x'], capture_output=True, timeout=60)
    return p.returncode == 4


def play_all(forms):
    wrong = []
    print(f'  {"":10}' + ''.join(f'{what:>16}' for what in ENDS))
    for form in forms:
        row = []
        with form() as f:
            for what, (state, attempts, text) in ENDS.items():
                got = f.play(what)
                good = got[:2] == (state, attempts) and re.search(text, got[2])
                row.append(f'{got[0]} in {got[1]}')
                if not good:
                    wrong.append(f'{form.__name__}, {what}: {got}')
        print(f'  {form.__name__:10}' + ''.join(f'{cell:>16}' for cell in row))
    check(not wrong, '; '.join(wrong))


@test
def every_form_of_worker_brings_every_job_to_the_same_end():
    play_all([Exec, Work, Webhook, Poll, Nats] + ([Grpc] if has_grpc() else []) + ([Handler] if has_sqlite() else []))


@on(*ENGINES)
def every_form_of_worker_brings_every_job_to_the_same_end_over_it(n):
    play_all([type(form.__name__, (form,), {'store': ('--store', n.url)})
              for form in [Exec, Work, Webhook, Poll, Nats] + ([Grpc] if has_grpc() else [])])


@test
def a_command_that_says_too_much_is_done_with_what_is_kept():
    class Talks(Form):
        config = '    exec: [printf, "%0100000d", "0"]\n'

    with Talks() as f:
        id = f.w.enqueue('q', b'go')
        until(lambda: f.w.job(id)['state'] == 'done', 'it is not done')
        job = f.w.job(id)
        check_eq(job['result'], '0' * 65536)
        check_in('64 KiB', job['note'])


@test
def a_take_over_the_bus_needs_the_right_to_its_queue():
    tokens = 'taker  token-of-the-taker   take:mail-* subscribe:_INBOX.>\nadmin token-of-the-admin admin\n'
    with tempfile.NamedTemporaryFile('w', prefix='weir-tokens-') as t:
        t.write(tokens)
        t.flush()
        with NatsWeir('--token-file', t.name) as w, w.nats(auth_token='token-of-the-taker') as c:
            for queue in ('mail-out', 'other'):
                w.post(f'/v1/queues/{queue}/jobs', b'x', headers={'Authorization': 'Bearer token-of-the-admin'})
            c.send(b'SUB _INBOX.me 1\r\nPUB weir.jobs.take.mail-out _INBOX.me 0\r\n\r\n')
            [job] = json.loads(c.message()[4])
            check_eq(job['queue'], 'mail-out')
            c.send(b'PUB weir.jobs.take.other _INBOX.me 0\r\n\r\n')
            check_in('Permissions Violation', c.line())
            # It may not be made to speak as itself, or for another.
            c.send(b'PUB weir.jobs.mail-out.x 1\r\nx\r\n')
            check_in('Permissions Violation', c.line())
            c.send(b'PUB weir.jobs.take.mail-out weir.jobs.mail-out.x 0\r\n\r\n')
            check_eq(c.ping(), b'')


@test
def a_job_that_nobody_hears_of_goes_back():
    with NatsWeir() as w:
        id = w.enqueue('q')
        with w.nats() as c:
            c.send(b'PUB weir.jobs.take.q nobody.listens 0\r\n\r\n')
            c.ping()
        until(lambda: any(h['event'] == 'running' for h in w.job(id)['history']), 'it was not given out')
        until(lambda: w.job(id)['state'] == 'queued', 'it did not go back')
        check_eq(w.job(id)['attempts'], 0)


@test
def wrong_requests_are_answered_with_the_reason():
    with NatsWeir() as w, w.nats() as c:
        c.send(b'SUB _INBOX.me 1\r\n')
        for subject, body, status in [('take.q', '[1]', 400), ('take.q', '{"wait":"x"}', 400), ('ack', '{}', 400),
                                      ('take.' + 'q' * 65, '', 400), ('ack', '{"id":"x","lease":"y"}', 404)]:
            c.send(f'PUB weir.jobs.{subject} _INBOX.me {len(body)}\r\n{body}\r\n')
            got = json.loads(c.message()[4])
            check_eq((subject, body, got.get('status')), (subject, body, status))
        for subject, member, why in ('take.q', 'wiat', 'wait'), ('ack', 'resutl', 'result'), ('nack', 'dealy', 'delay'), \
                ('extend', 'fro', 'for'), ('progress', 'ntoe', 'note'), ('return', 'laese', 'lease'):
            body = json.dumps({**({} if subject == 'take.q' else {'id': 'x', 'lease': 'y'}), member: '1'})
            c.send(f'PUB weir.jobs.{subject} _INBOX.me {len(body)}\r\n{body}\r\n')
            got = json.loads(c.message()[4])
            check_eq((got['status'], got['detail']), (400, f'{member} is not known here; did you mean {why}?'))
        c.send(b'PUB weir.jobs.take.none _INBOX.me 0\r\n\r\n')
        check_eq(c.message()[4], b'[]')


if __name__ == '__main__':
    main()
