# SPDX-License-Identifier: MIT
"""Queues in an engine (serve --store URL): several weirs on one, an engine that dies, a weir that dies. With a real nats-server, a
real RabbitMQ, and the repo's own server of SQS's protocol."""
import collections
import itertools
import math
import random
import threading

from engines import *


def until_none(left, text):
    """Until left() is 0, as long as it gets less: a backlog takes its time on a busy machine, and a stuck job stays."""
    least = left()
    while least:
        least, = until(lambda: [n] if (n := left()) < least else None, text, limit=60)


class Load:
    """Producers and workers over HTTP on whichever of `weirs` is there, and what became of each job. A job is put again under its
    idempotency key, if the engine has such, until it is accepted. Who is that far ahead of the workers waits for them."""
    ahead = 500

    def __init__(self, weirs, engine, producers=2, workers=3):
        self.weirs = weirs
        self.engine = engine
        self.lock = threading.Lock()
        self.accepted = set()
        self.runs = collections.Counter()
        self.acked = collections.Counter()
        self.unsure = set()  # their weir, or its connection, died under the ack: if the engine has it they run no more
        self.retried = set()  # what was put more than once, since the first put was not confirmed
        self.said = collections.Counter()  # what a refusal said
        self.producing = self.working = True
        self.producers = [threading.Thread(target=self.produce, args=(i,), daemon=True) for i in range(producers)]
        self.workers = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        for t in self.producers + self.workers:
            t.start()

    def one(self):
        return random.choice(self.weirs)

    def produce(self, who):
        n = 0
        while self.producing:
            job = f'{who}-{n}'
            while self.producing and len(self.left()) > self.ahead:
                time.sleep(0.05)
            try:
                a = self.one().post('/v1/queues/q/jobs', job, headers={'Idempotency-Key': job} if self.engine.keys else {})
            except (OSError, http.client.HTTPException):
                self.retried.add(job)
                continue
            with self.lock:
                if a.status == 202:
                    self.accepted.add(job)
                    n += 1
                else:
                    self.retried.add(job)
                    self.said[a.status] += 1
            if a.status != 202:
                check(a.status == 503, a)
                check_in('retry-after', a.headers)
                time.sleep(0.05)

    def work(self):
        while self.working:
            try:
                w = self.one()
                jobs = w.take('q', wait='1s')
                for j in jobs:
                    name = base64.b64decode(j['payload_base64']).decode() if 'payload_base64' in j else j['payload']
                    with self.lock:
                        self.runs[name] += 1
                    self.end(w, j, name)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            except Failed:
                time.sleep(0.05)

    def end(self, w, j, name):
        try:
            status = w.ack(j).status
        except (OSError, http.client.HTTPException):
            with self.lock:
                self.unsure.add(name)
            raise
        with self.lock:
            if status == 200:
                self.acked[name] += 1
            elif (status in (404, 409) and not self.engine.holds) or (status == 503 and not self.engine.asks):
                self.unsure.add(name)

    def left(self):
        with self.lock:
            return self.accepted - set(self.acked) - self.unsure

    def standstill(self):
        try:
            q = self.one().get('/v1/queues/q').json
        except (OSError, http.client.HTTPException) as e:
            q = e
        return f'nothing is accepted any more: {len(self.accepted)} were, {len(self.left())} wait, {dict(self.said)}; {q}'

    def in_engine(self):
        try:
            q = self.one().get('/v1/queues/q').json
            return q['queued'] + (0 if self.engine.ghosts else q['running'])
        except (OSError, http.client.HTTPException):
            return math.inf

    def finish(self):
        """All that was accepted has run and nothing is left in the engine; what ran more than once, and how often it was refused."""
        self.producing = False
        for t in self.producers:
            t.join(LIMIT)
        until_none(lambda: len(self.left()), lambda: f'lost: {sorted(self.left())[:20]}')
        until_none(self.in_engine, lambda: f'jobs are left in the engine: {self.one().get("/v1/queues/q").json}')
        self.working = False
        for t in self.workers:
            t.join(LIMIT)
        again = sum(n - 1 for n in self.runs.values() if n > 1)
        put_again = sum(self.runs[j] > 1 for j in self.retried)
        print(f'# {len(self.accepted)} accepted, {dict(self.said)} refused; {again} runs were repeated, {put_again} of jobs that '
              f'were put again; {len(self.unsure)} acks had no answer, {len(self.unsure - set(self.acked))} of them were taken')
        return again


def short_lease(w):
    check_eq(w.put('/v1/queues/q', {'lease': '2s'}).status, 200)


@on(*ENGINES)
def jobs_go_over_the_engine_from_any_weir_to_any_worker(n):
    with Weir('--store', n.url) as a, Weir('--store', n.url) as b:
        check_in(n.word, a.post('/v1/queues/q/jobs', b'hello').json['durability'])
        job, = b.take('q', wait='10s')
        check_eq(b.job(job['id'])['state'], 'running')
        check_eq(a.get('/v1/queues/q').json['running'], 1 if n.tells else 0)
        check_eq(a.get(f'/v1/jobs/{job["id"]}').status, 501)
        check_eq(b.ack(job).status, 200)
        check_eq(b.job(job['id'])['state'], 'done')
        check_eq(a.take('q'), [])


@on(JetStream)
def what_the_engine_cannot_do_is_refused_with_the_word_for_it(n):
    with Weir('--store', n.url) as w:
        for header, value, word in (('Weir-Delay', '5s', 'delay'), ('Weir-Priority', '-1', 'priority')):
            a = w.post('/v1/queues/q/jobs', b'x', headers={header: value})
            check_eq(a.status, 501)
            check_in(word, a.json['detail'])
            check_in('JetStream', a.json['detail'])
        lines = w.post('/v1/queues/q/jobs:batch', b'{"payload":"a"}\n{"payload":"b","priority":3}\n').lines
        check_eq(lines[0]['state'], 'queued')
        check_eq(lines[1]['status'], 501)
        job = '/v1/jobs/01M8JQAD5W54X5H7A5BSV9AMBA'
        for a, word in ((w.put('/v1/queues/q', {'rate': 5}), 'rate'), (w.put('/v1/queues/q', {'key_concurrency': 1}), 'concurrency'),
                        (w.put('/v1/queues/q', {'durability': 'os'}), 'durability'), (w.post('/v1/queues/q/pause'), 'pause'),
                        (w.get('/v1/queues/q/jobs'), 'look'), (w.get(job), 'look'), (w.get(job + '/events'), 'look'),
                        (w.delete(job), 'cancel'), (w.post(job + '/retry'), 'retry'),
                        (w.put('/v1/crons/c', {'schedule': '@daily', 'queue': 'q'}), 'cron')):
            check_eq((a.status, a.json['detail']), (501, f'the store, JetStream, cannot do this: {word}; see weir queues --engines'))


@on(RabbitTls)
def tls_goes_to_who_has_a_certificate_of_ours_and_to_nobody_else(n):
    ca = f'{certificate()}.crt'
    with Weir('--store', f'amqps://guest:g%75est@localhost:{n.tls}/%2F?ca={ca}') as w:
        w.enqueue('q', b'secret')
        job, = w.take('q', wait='10s')
        check_eq(w.ack(job).status, 200)
    for url, word in ((f'amqps://localhost:{n.tls}', 'cannot be reached'), (f'amqps://guest:wrong@localhost:{n.tls}?ca={ca}', 'no entry')):
        p = subprocess.run([program(), 'serve', '--listen', '127.0.0.1:0', '--data', n.dir, '--store', url], capture_output=True,
                           text=True, timeout=60)
        check_eq(p.returncode, 1, p.stderr)
        check_in(word, p.stderr)
        check('g%75est' not in p.stderr and 'wrong@' not in p.stderr, p.stderr)


@on(RabbitMQ)
def other_bounds_than_a_queue_was_made_with_are_refused(n):
    with Weir('--store', n.url, '--queue-max', '100') as w:
        w.enqueue('q', b'1')
    with Weir('--store', n.url, '--queue-max', '5') as w:
        a = w.post('/v1/queues/q/jobs', b'2')
        check_eq(a.status, 409)
        check_in('other settings', a.json['detail'])


@on(*ENGINES)
def an_engine_that_is_away_is_a_503_and_not_ready(n):
    with Weir('--store', n.url) as w:
        w.enqueue('q', b'1')
        job, = w.take('q', wait='10s')
        n.settle()
        n.kill()
        a = w.post('/v1/queues/q/jobs', b'2')
        check_eq(a.status, 503)
        check_in('retry-after', a.headers)
        until(lambda: w.get('/readyz').status == 503)
        n.start()
        until(lambda: w.get('/readyz').status == 200)
        check_in(w.ack(job).status, (200,) if n.holds else (404, 409))
        w.enqueue('q', b'3')


@on(*ENGINES)
def what_is_spilled_while_the_engine_is_away_arrives(n):
    with tempfile.TemporaryDirectory() as data:
        w = Weir('--store', n.url, '--spill', data=data)
        try:
            w.enqueue('q', b'0')
            n.settle()
            n.kill()
            for i in range(1, 150):
                a = w.post('/v1/queues/q/jobs', str(i), headers={'Weir-Key': f'k{i}', **({'Idempotency-Key': f'i{i}'} if n.keys else {})})
                check_eq(a.status, 202)
                check_in('spilled', a.json['durability'])
            if n.keys:
                again = w.post('/v1/queues/q/jobs', b'7', headers={'Idempotency-Key': 'i7'})
                check_eq(again.status, 202)
                check(again.json.get('duplicate'), again)
            too_large = {'JetStream': (1 << 20) - 10, 'SQS': 900000}.get(n.name)
            if too_large:  # what is accepted now has to be taken there later
                check_eq(w.post('/v1/queues/q/jobs', bytes(too_large)).status, 413)
            check_eq(w.get('/readyz').status, 200)
        finally:
            w.kill()  # what is spilled is on disk
        n.start()
        with Weir('--store', n.url, '--spill', data=data) as w:
            got, ids = [], set()
            while len(got) < 150:
                for j in w.take('q', wait='5s', max=50):
                    got.append(int(j['payload']))
                    ids.add(j['id'])
                    check_eq(w.ack(j).status, 200)
            check_eq(got if n.ordered else sorted(got), list(range(150)))
            check_in(a.json['id'], ids)
            check_eq(w.take('q'), [])
            until(lambda: n.word in w.get('/v1/queues/q').json['durability'])


@test
def an_engine_that_is_not_there_is_no_start():
    if 'JetStream' not in built():
        print('skipped: built without nats.c')
        return
    p = subprocess.run([program(), 'serve', '--listen', '127.0.0.1:0', '--data', tempfile.mkdtemp(prefix='weir-test-'), '--store',
                        f'nats://127.0.0.1:{free_port()}'], capture_output=True, text=True, timeout=60)
    check_eq(p.returncode, 1)
    check_in('cannot be reached', p.stderr)
    p = subprocess.run([program(), 'serve', '--store', 'kafka://x'], capture_output=True, text=True, timeout=60)
    check_eq(p.returncode, 2)
    check_in('engine', p.stderr)


@test
def an_option_of_an_engines_url_that_is_none_is_named_unless_it_may_be_a_part_of_a_password():
    for engine, scheme in (('JetStream', 'nats'), ('RabbitMQ', 'amqp')):
        for rest, word in (('h?replica=3', r'\breplica\b'), ('h?replicas=9', 'replicas.* 1 to '), ('u?ss@h', '"[.]{3}"|an option ')):
            if engine in built():
                p = subprocess.run([program(), 'serve', '--listen', '127.0.0.1:0', '--data', tempfile.mkdtemp(prefix='weir-test-'), '--store',
                                    f'{scheme}://{rest}'], capture_output=True, text=True, timeout=60)
                check_eq(p.returncode, 1)
                check(re.search(word, p.stderr), p.stderr)
                check(('@' in rest or 'replicas' in p.stderr) and 'ss@' not in p.stderr, p.stderr)


@on(*ENGINES)
def a_stop_names_what_an_engine_that_is_away_still_holds(n):
    with Weir('--store', n.url) as w:
        w.enqueue('q', b'x')
        job, = w.take('q', wait='10s', lease='60s')
        n.kill()
        check_eq(w.post('/v1/queues/q/jobs', b'y').status, 503)  # it finds that out
        until(lambda: w.get('/readyz').status == 503)
        said = w.stop()
        if n.holds:
            check_in(f'{n.name} still holds job {job["id"]} of queue q, for ', said)
        else:  # it took the job back when the connection broke
            check(' still holds ' not in said, said)


def last_word(w, job):
    try:
        w.ack(job)
    except (OSError, http.client.HTTPException):
        pass  # it was cut off


@on(JetStream, Sqs)
def an_end_that_the_engine_does_not_hear_is_cut_off_by_a_stop(n):
    """It is said again for as long as its job is held, which is longer than this stop may take."""
    with Weir('--store', n.url, '--grace', '6s', expect=3) as w:
        w.enqueue('q', b'x')
        job, = w.take('q', wait='10s', lease='60s')
        n.kill()
        ack = threading.Thread(target=last_word, args=(w, job))
        ack.start()
        until(lambda: any(t.get('waits_on') == 'sleep' for t in w.get('/debug/tasks').json['tasks']))
        said = w.stop()
        ack.join()
        check_in('still holds job', said)
        check('forced' not in said, said)


@on(*ENGINES)
def an_engine_killed_under_load_loses_nothing_it_acknowledged(n):
    with Weir('--store', n.url) as w:
        short_lease(w)
        w.enqueue('q', b'first')  # makes the queue
        n.settle()
        load = Load([w], n)
        for i in range(50 if LONG else n.kills):
            mark = len(load.accepted)
            until(lambda: len(load.accepted) >= mark + 20, load.standstill, limit=60)
            n.kill()
            n.start()
        load.finish()


@on(*ENGINES)
def an_engine_that_stands_still_loses_nothing_either(n):
    """As behind a network that swallows everything: no connection breaks, and nothing answers."""
    with Weir('--store', n.url) as w:
        short_lease(w)
        load = Load([w], n)
        for _ in range(10 if LONG else 2):
            mark = len(load.accepted)
            until(lambda: len(load.accepted) >= mark + 20, load.standstill, limit=60)
            n.program.signal(signal.SIGSTOP)
            time.sleep(3)  # longer than a lease
            n.program.signal(signal.SIGCONT)
        load.finish()


class Namespace:
    """A network of two: we, and those who run in it (by `wrap`, at `host`)."""

    count = itertools.count()

    def __init__(self):
        n = (os.getpid() * 8 + next(self.count)) % 16000  # the kernel takes its time to forget a name
        self.name, self.here, self.there = f'weir{n}', f'wa{n}', f'wb{n}'
        net = f'198.18.{n // 64}.'  # what RFC 2544 sets aside for tests
        self.host = f'{net}{n % 64 * 4 + 2}'
        self.wrap = ['ip', 'netns', 'exec', self.name]
        ip('netns', 'add', self.name)
        ip('link', 'add', self.here, 'type', 'veth', 'peer', 'name', self.there, 'netns', self.name)
        ip('addr', 'add', f'{net}{n % 64 * 4 + 1}/30', 'dev', self.here)
        ip('link', 'set', self.here, 'up')
        ip('-n', self.name, 'addr', 'add', f'{self.host}/30', 'dev', self.there)
        ip('-n', self.name, 'link', 'set', 'lo', 'up')
        self.mend()

    def cut(self):
        ip('-n', self.name, 'link', 'set', self.there, 'down')

    def mend(self):
        ip('-n', self.name, 'link', 'set', self.there, 'up')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ip('link', 'del', self.here)
        ip('netns', 'del', self.name)


def ip(*args):
    subprocess.run(['ip', *args], check=True, capture_output=True)


def cut_off(engine):
    """The engine is there and its network is not, for a moment or for so long that connections are given up."""
    if engine.missing():
        print(f'skipped: {engine.missing()}')
        return
    try:
        ip('netns', 'add', 'weir-may-it')
        ip('netns', 'del', 'weir-may-it')
    except (OSError, subprocess.CalledProcessError):
        print('skipped: no namespaces for us')
        return
    with Namespace() as net, engine(net.host, net.wrap) as n, Weir('--store', n.url) as w:
        short_lease(w)
        load = Load([w], n)
        for i in range(50 if LONG else 5):
            mark = len(load.accepted)
            until(lambda: len(load.accepted) >= mark + 20, load.standstill, limit=60)
            net.cut()
            time.sleep(15 if i % 5 == 2 else random.random() * 4)
            net.mend()
        load.finish()


@test
def jetstream_cut_off_by_its_network_loses_nothing():
    cut_off(JetStream)


@test
def rabbitmq_cut_off_by_its_network_loses_nothing():
    cut_off(RabbitMQ)


@test
def sqs_cut_off_by_its_network_loses_nothing():
    cut_off(Sqs)


def cut_events(dies, at, by):
    """The events of a job that `at` holds are followed at a weir which then dies, and go on at another."""
    at.enqueue('e', b'x')
    job, = at.take('e', wait='10s')
    with dies.events(f'/v1/jobs/{job["id"]}/events') as events:
        check_eq(events.next()['event'], 'running')
        dies.kill()
    with by.events(f'/v1/jobs/{job["id"]}/events') as events:
        check_eq(events.next()['event'], 'running')
        check_eq(at.ack(job, b'42').status, 200)
        last = events.next()
        check_eq(last['event'], 'done')
        check_in('42', last['data'])


@on(*ENGINES)
def three_weirs_of_which_one_is_killed_again_and_again_run_every_job(n):
    """And each stream of events that was cut goes on elsewhere, when they share a bus: every 5 s for 5 minutes, or a tenth as often."""
    with contextlib.ExitStack() as ends:
        bus = n if isinstance(n, JetStream) else None if JetStream.missing() else ends.enter_context(JetStream())
        start = lambda: Weir('--store', n.url, *(['--bus', bus.url] if bus else []))
        weirs = [start() for _ in range(3)]
        ends.callback(lambda: [w.kill() for w in weirs])
        for w in weirs:
            short_lease(w)
        load = Load(weirs, n)
        due = time.monotonic()
        for i in range(60 if LONG else 6):
            mark = len(load.accepted)
            until(lambda: len(load.accepted) >= mark + 50, load.standstill, limit=60)
            due += 5
            if LONG and due > time.monotonic():
                time.sleep(due - time.monotonic())
            k = i % 3
            if bus:
                cut_events(weirs[k], weirs[k - 1], weirs[k - 2])
            weirs[k].kill()
            weirs[k] = start()
            short_lease(weirs[k])
        load.finish()
        for w in weirs:
            w.stop()


@on(*ENGINES)
def a_move_that_is_cut_off_again_and_again_loses_and_doubles_no_job(n):
    """Where doubles are not dropped, each cut may double what was on its way."""
    jobs = 1000000 if LONG else 20000
    with tempfile.TemporaryDirectory() as d:
        with Weir('--store', 'sqlite', '--queue-max', '10000000', '--queue-bytes', '10GiB', data=d) as w:
            for i in range(0, jobs, 1000):
                lines = b''.join(b'{"payload":"%d"}\n' % k for k in range(i, i + 1000))
                check_eq(w.post('/v1/queues/q/jobs:batch', lines).status, 202)
        with Weir('--store', n.url, '--queue-max', '10000000', '--queue-bytes', '10GiB') as w:
            check_eq(w.put('/v1/queues/q', {}).status, 200)  # whose bounds it has, where they cannot be changed
        command = [program(), 'move', '--from', f'sqlite:{d}/jobs.db', '--to', n.url]
        cut = 0
        for seed in range(1000):
            p = subprocess.Popen(command, stderr=subprocess.PIPE)
            try:
                p.wait(0.1 + random.random() * (5 if LONG else 0.3) + 0.05 * seed)
                err = p.stderr.read().decode()
                check_eq(p.returncode, 0, err)
                break
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                cut += 1
            finally:
                p.stderr.close()
        print(f'# cut off {cut} times; {err.strip()}')
        check(cut > 0, 'it was never cut off')
        with Weir('--store', n.url, '--queue-max', '10000000', '--queue-bytes', '10GiB') as w:
            job, = w.take('q', wait='10s')
            if n.ordered:
                check_eq(job['payload'], '0')
            got = w.get('/v1/queues/q').json
            got = got['queued'] + got['running']
            check(jobs <= got <= jobs + (0 if n.keys else 256 * cut), f'{got} of {jobs} are there')
        with Weir('--store', 'sqlite', data=d) as w:
            check_eq(w.get('/v1/queues/q').json['queued'], 0)


@on(*ENGINES)
def a_move_stops_at_a_job_that_the_engine_cannot_have(n):
    with tempfile.TemporaryDirectory() as d:
        with Weir('--store', 'sqlite', data=d) as w:
            w.enqueue('q', b'a')
            w.enqueue('q', b'b', Weir_Priority=5)
            w.enqueue('r', b'c', Weir_Delay='1h')
        p = subprocess.run([program(), 'move', '--from', f'sqlite:{d}/jobs.db', '--to', n.url], capture_output=True, text=True)
        check_eq(p.returncode, 1)
        check_in(f'asks for "priority", which {n.name} cannot do', p.stderr)
        check_in('1 of 2 jobs moved', p.stderr)
        check_in('1 delayed jobs stay', p.stderr)
        # And back again.
        p = subprocess.run([program(), 'move', '--from', n.url, '--to', f'sqlite:{d}/jobs.db', 'q'], capture_output=True, text=True)
        check_eq(p.returncode, 0, p.stderr)
        with Weir('--store', 'sqlite', data=d) as w:
            check_eq(sorted(w.take('q')[0]['payload'] for _ in range(2)), ['a', 'b'])


@on(JetStream)
def any_weir_on_the_bus_is_asked_for_any_job(n):
    with Weir('--store', n.url, '--bus', n.url) as a, Weir('--store', n.url, '--bus', n.url) as b:
        id = a.enqueue('q', b'x')
        check_eq(a.get(f'/v1/jobs/{id}').status, 404)  # it waits in the engine
        job, = b.take('q', wait='10s')
        check_eq(a.job(id)['state'], 'running')
        check_eq(b.ack(job, b'42').status, 200)
        check_eq(a.job(id)['state'], 'done')
        check_eq(a.job(id)['result'], '42')


@on(*ENGINES)
def the_example_runs_its_jobs_in_an_engine_that_two_of_it_share(n):
    here = os.path.dirname(program())
    two = [Program([os.path.join(here, 'examples', 'example-jobs'), '--queue', n.url, '127.0.0.1:0', '10', '0.1', '0'])
           for _ in range(2)]
    try:
        ports = [int(p.wait_err(r'listening on \S+:(\d+)').group(1)) for p in two]
        for user in range(1, 7):
            c = http.client.HTTPConnection('127.0.0.1', ports[user % 2], timeout=LIMIT)
            c.request('GET', f'/?user_id={user}')
            check_eq(c.getresponse().status, 202)
        for user in range(1, 7):
            until(lambda: any(f'user {user}: sent' in p.err for p in two), f'user {user} has no mail')
        for p in two:
            p.signal(signal.SIGTERM)
            check_eq(p.wait(), 0)
            p.check_clean()
    finally:
        for p in two:
            p.kill()


@test
def the_table_of_engines_is_the_one_in_the_docs():
    printed = subprocess.run([program(), 'queues', '--engines'], capture_output=True, text=True, check=True).stdout
    table = [l for l in printed.splitlines() if l.startswith('|')]
    check(len(table) > 10)
    with open(os.path.join(ROOT, 'doc/design/engines.md')) as f:
        docs = [l.rstrip('\n') for l in f]
    for l in table:
        check(l in docs, f'doc/design/engines.md has not: {l}')


if __name__ == '__main__':
    main()
