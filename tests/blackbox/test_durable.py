# SPDX-License-Identifier: MIT
"""Durable queues: what was acknowledged is there after kill -9.

The campaign (`--kills N`, by script/crash long) kills a server under load again and again; producers and workers over HTTP keep a ledger of what was answered to them."""
import random

from weirtest import *

KILLS = int(next((a[8:] for a in sys.argv if a.startswith('--kills=')), 200 if LONG else 6))


def durable(data, *flags, **kw):
    return Weir('--store', 'sqlite', *flags, data=data, **kw)


def kill9(w):
    if w.proc.poll() is None:
        w.signal(signal.SIGKILL)
    w.wait(LIMIT)


@contextlib.contextmanager
def directory():
    d = tempfile.mkdtemp(prefix='weir-test-')
    try:
        yield d
    finally:
        shutil.rmtree(d, ignore_errors=True)


@test
def a_job_that_was_accepted_runs_after_kill_9():
    with directory() as d:
        w = durable(d)
        a = w.post('/v1/queues/mail/jobs', 'hello', headers={'Idempotency-Key': 'k1'})
        check_eq((a.status, a.json['durability']), (202, 'fsync'))
        kill9(w)
        w = durable(d)
        check_eq(w.job(a.json['id'])['state'], 'queued')
        again = w.post('/v1/queues/mail/jobs', 'hello', headers={'Idempotency-Key': 'k1'})
        check_eq((again.json['id'], again.json.get('duplicate')), (a.json['id'], True))
        job, = w.take('mail')
        check_eq((job['payload'], job['attempt']), ('hello', 1))
        check_eq(w.ack(job, b'done').status, 200)
        kill9(w)
        with durable(d) as w:
            done = w.job(a.json['id'])
            check_eq((done['state'], done['result']), ('done', 'done'))
            check_eq(w.take('mail'), [])


@test
def a_lease_outlives_the_server_and_its_worker_may_acknowledge_to_the_next():
    for end in kill9, Weir.stop:
        with directory() as d:
            w = durable(d)
            id = w.enqueue('q')
            job, = w.take('q', lease='1m')
            check_eq(w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&progress=0.5').status, 200)
            w.enqueue('q2')  # Waits for the disk, and what came before is there then too.
            end(w)
            with durable(d) as w:
                check_eq(w.job(id)['state'], 'running')
                check_eq(w.take('q'), [])
                check_eq(w.ack(job).status, 200)
                check_eq(w.job(id)['state'], 'done')


class Ledger:
    """What producers and workers were told."""

    def __init__(self, make, seed):
        self.make, self.random = make, random.Random(seed)
        self.lock = threading.Lock()
        self.accepted, self.ran, self.acked = set(), {}, set()
        self.again = []  # ran although its ack was answered
        self.errors = []
        self.over = threading.Event()
        self.server = make()

    def call(self, state, method, path, body=b'', headers={}):
        """The answer, or None when the server went meanwhile."""
        try:
            if state.get('port') != self.server.port:
                state['port'] = self.server.port
                state['conn'] = self.server.connect()
            state['conn'].request(method, path, body=body, headers=headers)
            r = state['conn'].getresponse()
            return Answer(r.status, {}, r.read())
        except (OSError, http.client.HTTPException):
            state['port'] = None
            self.over.wait(0.002)
            return None

    def producer(self, n):
        state, i = {}, 0
        while not self.over.is_set():
            i += 1
            headers = {'Weir-Max-Attempts': '100'}
            if i % 7 == 0:
                headers['Weir-Delay'] = '50ms'
            if i % 5 == 0:
                headers['Idempotency-Key'] = f'{n}-{i}'
            a = self.call(state, 'POST', '/v1/queues/q/jobs', f'{n}-{i}', headers)
            if a and a.status == 202:
                with self.lock:
                    self.accepted.add(a.json['id'])
            elif a and a.status != 503:
                self.errors.append(f'put: {a}')

    def worker(self, until_empty=False):
        state = {}
        while not self.over.is_set():
            a = self.call(state, 'POST', '/v1/queues/q/take?wait=100ms&max=5&lease=2s')
            for job in a.json if a and a.status == 200 else []:
                with self.lock:
                    if job['id'] in self.acked:
                        self.again.append(job['id'])
                    self.ran[job['id']] = self.ran.get(job['id'], 0) + 1
                a = self.call(state, 'POST', f'/v1/jobs/{job["id"]}/ack?lease={job["lease"]}', b'r')
                if a and a.status == 200:
                    with self.lock:
                        self.acked.add(job['id'])
                elif a and a.status not in (404, 409, 503):
                    self.errors.append(f'ack: {a}')

    def run(self, rounds, end):
        producers = [threading.Thread(target=self.producer, args=(n,)) for n in range(4)]
        workers = [threading.Thread(target=self.worker) for _ in range(3)]
        self.producing = threading.Event()
        for t in producers + workers:
            t.start()
        try:
            for _ in range(rounds):
                done = len(self.accepted)
                until(lambda: len(self.accepted) > done, 'nothing is accepted')
                time.sleep(self.random.uniform(0, 0.2))
                end(self.server)
                self.server = self.make()
            self.over.set()
            for t in producers + workers:
                t.join()
            self.over.clear()
            workers = [threading.Thread(target=self.worker) for _ in range(3)]
            for t in workers:
                t.start()
            until(lambda: not any(self.server.get('/v1/queues/q').json[k] for k in ('queued', 'delayed', 'running')),
                  'jobs are stuck', limit=60)
        finally:
            self.over.set()
            for t in producers + workers:
                t.join()
        check_eq(self.errors[:3], [], 'errors')
        check_eq(self.again[:3], [], 'ran although its ack was answered')
        lost = self.accepted - set(self.ran)
        check(not lost, f'{len(lost)} of {len(self.accepted)} accepted jobs never ran: {sorted(lost)[:3]}')
        check_eq(self.server.get('/v1/queues/q').json['dead'], 0)


@test
def a_campaign_of_kills_loses_nothing_that_was_accepted():
    with directory() as d:
        l = Ledger(lambda: durable(d, '--finished-max', '100'), 1)
        try:
            l.run(KILLS, kill9)
            twice = sum(n > 1 for n in l.ran.values())
            print(f'# {KILLS} kills, {len(l.accepted)} jobs accepted, {len(l.acked)} acks answered, {twice} ran twice')
        finally:
            kill9(l.server)


if __name__ == '__main__':
    main()
