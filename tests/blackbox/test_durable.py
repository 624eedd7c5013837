# SPDX-License-Identifier: MIT
"""Durable queues: what was acknowledged is there after kill -9.

The campaign (`--kills N`, by script/crash long) kills a server under load again and again; producers and workers over HTTP keep a ledger of what was answered to them."""
import random
import sqlite3

from weirtest import *

KILLS = int(next((a[8:] for a in sys.argv if a.startswith('--kills=')), 200 if LONG else 6))


DEPLOYS = 50 if LONG else 4


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


def written(d, id):
    """State and progress of a job, as the file has them."""
    with contextlib.closing(sqlite3.connect(f'file:{d}/jobs.db?mode=ro', uri=True)) as db:
        return db.execute('SELECT state, progress FROM jobs WHERE id = ?', (id,)).fetchone()


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
def a_queue_says_what_its_answers_are_worth_and_keeps_to_it():
    with directory() as d:
        w = durable(d)
        for word in ('fsync', 'os', 'memory'):
            check_eq(w.put(f'/v1/queues/{word}', {'durability': word}).status, 200)
            check_eq(w.get(f'/v1/queues/{word}').json['durability'], word)
            check_eq(w.post(f'/v1/queues/{word}/jobs', word).json['durability'], word)
        check_eq(w.put('/v1/queues/fsync', {'durability': 'maybe'}).status, 400)
        kill9(w)
        w = durable(d)
        check_eq([len(w.take(q)) for q in ('fsync', 'os', 'memory')], [1, 1, 0])
        check_eq(w.get('/v1/queues/memory').json['durability'], 'memory')
        w.post('/v1/queues/memory/jobs', 'kept by a clean stop')
        w.stop()
        with durable(d) as w:
            check_eq([j['payload'] for j in w.take('memory')], ['kept by a clean stop'])
    with Weir('--store', 'mem') as w:
        check_eq(w.put('/v1/queues/q', {'durability': 'fsync'}).status, 501)


@test
def a_jobs_history_is_still_told_after_kill_9():
    with directory() as d:
        w = durable(d)
        id = w.enqueue('q')
        job, = w.take('q')
        check_eq(w.ack(job).status, 200)
        before = w.job(id)['history']
        check_eq([h['event'] for h in before], ['queued', 'running', 'done'])
        kill9(w)
        with durable(d) as w:
            check_eq(w.job(id)['history'], before)


@test
def a_new_job_is_not_taken_for_one_that_was_cleared_away():
    with directory() as d:
        w = durable(d)
        w.enqueue('q')
        job, = w.take('q')
        check_eq(w.ack(job).status, 200)
        w.stop()
        # As clearing away does, whose changes go later.
        subprocess.run(['sqlite3', d + '/jobs.db', 'DELETE FROM job'], check=True)
        w = durable(d)
        id = w.enqueue('q')
        kill9(w)
        with durable(d) as w:
            check_eq(w.job(id)['state'], 'queued')


@test
def a_lease_outlives_the_server_and_its_worker_may_acknowledge_to_the_next():
    for end in kill9, Weir.stop:
        with directory() as d:
            w = durable(d)
            id = w.enqueue('q')
            job, = w.take('q', lease='1m')
            check_eq(w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}&progress=0.5').status, 200)
            # Nobody waits for a take to be on disk, so it comes there a little later.
            until(lambda: written(d, id) == ('running', 0.5), 'the take is not written')
            end(w)
            with durable(d) as w:
                check_eq(w.job(id)['state'], 'running')
                check_eq(w.take('q'), [])
                check_eq(w.ack(job).status, 200)
                check_eq(w.job(id)['state'], 'done')


@test
def a_backup_of_a_running_server_is_a_store_to_start_from():
    with directory() as d:
        file = d + '/copy.db'
        w = durable(d)
        id = w.enqueue('q', 'kept')
        check_eq(cli('backup', file, '--data', d)[0], 0)
        later = w.enqueue('q', 'later')
        status, out, err = cli('backup', file, '--data', d)
        check_eq((status, err), (1, f'weir: {file} exists\n'))
        check_eq(cli('check', '--data', d)[0], 0)
        status, out, err = cli('check', file)
        check(status == 0 and b'1 job to be done' in out, (out, err))
        kill9(w)
        with Weir('--store', file) as w:
            job, = w.take('q')
            check_eq((job['id'], job['payload']), (id, 'kept'))
            check_eq(w.get(f'/v1/jobs/{later}').status, 404)
            check_eq(w.ack(job).status, 200)
        with open(file, 'r+b') as f:
            f.seek(4096 * 2)
            f.write(b'Z' * 4096 * 3)
        status, out, err = cli('check', file)
        check(status == 1 and out == b'', (out, err))


@test
def the_file_reads_well_with_the_shell():
    if not shutil.which('sqlite3'):
        return
    with directory() as d, durable(d) as w:
        id = w.enqueue('q', 'hello')
        dead = w.enqueue('p', 'bad', Weir_Max_Attempts=1)
        job, = w.take('p')
        w.post(f'/v1/jobs/{dead}/nack?lease={job["lease"]}&error=broken')
        check_eq(w.put('/v1/queues/empty', {'paused': True}).status, 200)

        def sql(text):
            return subprocess.run(['sqlite3', d + '/jobs.db', text], capture_output=True, text=True).stdout.strip()
        check_eq(sql(f"SELECT queue, state, payload FROM jobs WHERE id = '{id}'"), 'q|queued|hello')
        check_eq(sql('SELECT name, queued, dead, paused FROM queues ORDER BY name'), 'empty|0|0|1\np|0|1|0\nq|1|0|0')
        check_eq(sql('SELECT id, error FROM dead'), f'{dead}|broken')


@test
def a_store_that_is_served_is_not_opened_twice():
    """Neither by a move, which would double its jobs, nor by another server that is told the file."""
    def move(*args):
        p = subprocess.run([program(), 'move', *args], capture_output=True, text=True)
        return p.returncode, p.stderr

    with directory() as d:
        url = f'sqlite:{d}/jobs.db'
        w = durable(d)
        id = w.enqueue('q', 'x')
        status, err = move('--from', url, '--to', f'sqlite:{d}/other.db')
        check_eq(status, 1)
        check_in(f'in use, by process {w.proc.pid}', err)
        status, _, err = cli('serve', '--listen', '127.0.0.1:0', '--data', d + '/other', '--store', d + '/jobs.db')
        check_eq(status, 1)
        check_in(f'in use, by process {w.proc.pid}', err)
        check_eq(cli('check', '--data', d)[0], 0)  # Who only looks may.
        kill9(w)
        for args, why in (('--from', url, '--to', url), 'the same store'), \
                (('--from', f'sqlite:{d}/nothing.db', '--to', url), 'no such file'), \
                (('--from', 'mem:', '--to', url), 'no move can reach it'), \
                (('--from', url, '--to', f'sqlite:{d}/other.db', '../q'), 'not a queue'):
            status, err = move(*args)
            check_eq(status, 2)
            check_in(why, err)
        status, err = move('--from', url, '--to', f'sqlite:{d}/other.db', 'qq')
        check_eq(status, 0)
        check_in('there is no queue qq in it', err)
        check(not os.path.exists(d + '/nothing.db'))
        with durable(d) as w:
            check_eq([j['id'] for j in w.take('q')], [id])


# What the weir of version 1 made: its inserts name no columns, so number and order count.
VERSION_1 = {
    'job': 'num id queue state priority ord due_at key attempts_max timeout_ns created_at content_type size payload',
    'change': 'n job state ord attempt due_at started_at finished_at lease lease_ns lease_until renew cancel worker progress note'
              ' error result',
    'idem': 'n until queue key id',
    'queue': 'name paused max max_bytes lease_ns attempts_max timeout_ns backoff_ns backoff_max_ns rate rate_burst concurrency'
             ' key_concurrency finished_max finished_ns',
    'cron': 'name schedule queue next_at last_at payload',
}


@test
def a_store_goes_down_to_version_1_and_up_again():
    if not shutil.which('sqlite3'):
        return

    def shell(d, *text, **kw):
        p = subprocess.run(['sqlite3', d + '/jobs.db', *text], capture_output=True, text=True, **kw)
        return p.returncode, p.stdout.strip()

    def down(d):
        with open(os.path.join(ROOT, 'doc/down-2-to-1.sql')) as f:
            return shell(d, stdin=f)[0]

    with directory() as d:
        with durable(d) as w:
            check_eq(w.put('/v1/queues/q', {'max': 77, 'durability': 'os'}).status, 200)
            check_eq(w.put('/v1/crons/c', {'schedule': '@every 1h', 'queue': 'q', 'payload': 'tick'}).status // 100, 2)
            queued = w.post('/v1/queues/q/jobs', 'hello', headers={'Idempotency-Key': 'k'}).json['id']
            delayed = w.enqueue('q', Weir_Delay='1h')
            done = w.enqueue('r', 'x')
            job, = w.take('r')
            check_eq(w.ack(job, b'fine').status, 200)
            held = w.enqueue('s', 'x')
            job, = w.take('s', lease='1h')
        check_eq(down(d), 0)
        check_eq(shell(d, 'PRAGMA user_version')[1], '1')
        for table, columns in VERSION_1.items():
            check_eq(shell(d, f'SELECT group_concat(name, " ") FROM pragma_table_info("{table}")')[1], columns, table)
        check_eq(shell(d, 'SELECT state, count(*) FROM jobs GROUP BY state')[1], 'delayed|1\ndone|1\nqueued|1\nrunning|1')
        check(down(d) != 0, 'it is there already')
        check_eq(shell(d, 'PRAGMA user_version')[1], '1')
        with durable(d) as w:
            check_eq([w.job(id)['state'] for id in (queued, delayed, done, held)], ['queued', 'delayed', 'done', 'running'])
            check_eq(w.job(done)['result'], 'fine')
            check_eq(w.ack(job).status, 200)
            q = w.get('/v1/queues/q').json
            check_eq((q['settings']['max'], q['durability']), (77, 'fsync'))
            check_eq(w.get('/v1/crons/c').json['schedule'], '@every 1h')
            again = w.post('/v1/queues/q/jobs', 'hello', headers={'Idempotency-Key': 'k'})
            check_eq(again.json['id'], queued)
        check_eq(shell(d, 'PRAGMA user_version')[1], '2')


@test
def jobs_pass_between_the_kinds_of_store():
    """Up: a store in memory hands its spool to a durable one. Down: a weir that keeps jobs in memory leaves the file
    alone and says so."""
    with directory() as d:
        with Weir('--store', 'mem', data=d) as w:
            id = w.enqueue('q', 'x')
        with durable(d) as w:
            check_eq(w.job(id)['state'], 'queued')
        with Weir('--store', 'mem', data=d) as w:
            check_eq(w.get(f'/v1/jobs/{id}').status, 404)
            w.wait_err(r'jobs.db.* not served')
        with durable(d) as w:
            check_eq([j['id'] for j in w.take('q')], [id])


@test
def a_full_disk_is_an_error_to_the_producer_and_loses_nothing():
    d = tempfile.mkdtemp(prefix='weir-test-')
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', d],
                                      capture_output=True).returncode:
        os.rmdir(d)
        print('# left out: a small tmpfs cannot be mounted here')
        return
    w = None
    try:
        with open(os.path.join(d, 'ballast'), 'wb') as f:
            f.write(bytes(65536))
        w = durable(d)
        accepted, refused = [], 0
        for i in range(400):
            a = w.post('/v1/queues/q/jobs', b'x' * 10000)
            if a.status == 202:
                accepted.append(a.json['id'])
            else:
                check_eq(a.status, 507, a.text)
                refused += 1
                if refused == 5:
                    break
        check(refused == 5 and len(accepted) > 20, (refused, len(accepted)))
        kill9(w)
        w = durable(d)
        check_eq(w.get('/v1/queues/q').json['queued'], len(accepted))
        # With room for a setting, what is in memory only finds none at the end: the stop says so.
        os.unlink(os.path.join(d, 'ballast'))
        check_eq(w.put('/v1/queues/m', {'durability': 'memory'}).status, 200)
        for _ in range(3):
            w.enqueue('m', b'x' * 200000)
        w.signal(signal.SIGTERM)
        check_eq(w.wait(60), 1)
        check_in(f'{len(accepted)} kept for the next start, 3 could not be kept', w.err)
        check_in('3 jobs that were in memory only could not be written: they are lost', w.err)
        w = durable(d)
        check_eq(w.get('/v1/queues/q').json['queued'], len(accepted))
        got = set()
        while len(got) < len(accepted):
            jobs = w.take('q', max=10, wait='1s')
            check(jobs, f'{len(got)} of {len(accepted)} are left')
            got |= {j['id'] for j in jobs}
        check_eq(got, set(accepted))
    finally:
        if w:
            kill9(w)
        subprocess.run(['umount', '-l', d])
        os.rmdir(d)


class Ledger:
    """What producers and workers were told."""

    def __init__(self, make, seed):
        self.make, self.random = make, random.Random(seed)
        self.lock = threading.Lock()
        self.accepted, self.ran, self.acked = set(), {}, set()
        self.unanswered = set()  # an ack was sent, and no answer came
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
                elif a is None:
                    with self.lock:
                        self.unanswered.add(job['id'])
                elif a.status not in (404, 409, 503):
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
def deploys_under_load_lose_nothing_and_run_nothing_twice():
    """SIGTERM and start, again and again: what is refused is refused with 503 or not reached."""
    def deploy(w):
        w.stop()

    with directory() as d:
        l = Ledger(lambda: durable(d, '--finished-max', '100', '--grace', '10s'), 2)
        try:
            l.run(DEPLOYS, deploy)
            twice = {i: n for i, n in l.ran.items() if n > 1 and i not in l.unanswered}
            check_eq(twice, {}, 'ran twice')
            print(f'# {DEPLOYS} deploys, {len(l.accepted)} jobs accepted')
        finally:
            kill9(l.server)


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
