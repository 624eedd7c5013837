# SPDX-License-Identifier: MIT
"""The dashboard in a real browser, and what pages of other origins can do to a server on the developer's machine: nothing."""
import http.server

from weirtest import *
from webdriver import Browser

# Where pictures of the page are left, to be looked at.
PICTURES = os.environ.get('WEIR_PICTURES') or os.path.join(tempfile.gettempdir(), f'weir-pictures-{os.getuid()}')


def chip(lane, id):
    """A script that says whether a job stands in a lane."""
    return f'return [...document.querySelectorAll("#lanes [data-state={lane}] ol button")].some((b) => b.ariaLabel.includes("{id}"))'


def in_lane(b, lane, id):
    until(lambda: b.js(chip(lane, id)), lambda: f'{id} does not appear as {lane}: {b.text("#lanes")!r}')


def live(b):
    b.shows('#link', 'live')


def token_file(data, text):
    path = os.path.join(data, 'tokens')
    with open(path, 'w') as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(text)
    return path


@test
def a_job_put_by_the_form_moves_through_the_lanes_to_done():
    with Weir() as w, Browser() as b:
        b.go(w.url + '/')
        live(b)
        b.type('#put [name=queue]', 'mail')
        b.type('#put [name=payload]', '{"to": "ada@example.org"}')
        b.click('#put button.main')
        b.shows('#put-answer', 'Queued as')
        id = b.text('#put-answer button')
        in_lane(b, 'queued', id)
        b.shows('#n-waiting', '1')
        b.shows('#queue-rows', 'mail')
        [job] = w.take('mail', wait='10s')
        check_eq(job['id'], id)
        in_lane(b, 'running', id)
        b.shows('#n-running', '1')
        w.post(f'/v1/jobs/{id}/progress?lease={job["lease"]}', {'progress': 0.5, 'note': 'half of it'})
        b.shows('#lanes [data-state=running] ol', 'half of it')
        check_eq(w.ack(job, b'sent <b>it</b>').status, 200)
        in_lane(b, 'done', id)
        b.shows('#n-running', '0')
        b.shows('#n-done', '1')
        b.shows('#log', 'done')

        b.click('#lanes [data-state=done] .chip')
        b.shows('#job-state', 'done')
        b.shows('#job-payload', 'ada@example.org')
        b.shows('#job-result', 'sent <b>it</b>')
        for state in ('queued', 'running', 'done'):
            b.shows('#job-history', state)
        b.click('#job-close')
        check_eq(b.js('return document.querySelector("#job").open'), False)
        check_eq(b.log(), [])


@test
def a_failed_job_shows_its_error_and_redrive_brings_it_back():
    with Weir() as w, Browser() as b:
        b.go(w.url + '/')
        live(b)
        id = w.enqueue('mail', b'x', Weir_Max_Attempts=1)
        [job] = w.take('mail', wait='10s')
        w.post(f'/v1/jobs/{id}/nack?lease={job["lease"]}', {'error': 'no such mailbox'})
        in_lane(b, 'dead', id)
        b.shows('#lanes [data-state=dead]', 'no such mailbox')
        b.shows('#n-dead', '1')
        b.js('[...document.querySelectorAll("#queue-rows button")].find((x) => x.innerText === "Redrive").click()')
        in_lane(b, 'queued', id)
        b.click('#lanes [data-state=queued] .chip')
        b.shows('#job-state', 'queued')
        b.click('#job-cancel')
        b.shows('#job-state', 'cancelled')
        until(lambda: w.job(id)['state'] == 'cancelled', 'it is not cancelled')
        check_eq(b.log(), [])


@test
def pause_and_resume_work_by_their_button():
    with Weir() as w, Browser() as b:
        w.enqueue('mail')
        b.go(w.url + '/')
        b.shows('#queue-rows .act', 'Pause')
        b.click('#queue-rows .act button:last-child')
        b.shows('#queue-rows', 'paused')
        check_eq(w.get('/v1/queues/mail').json['paused'], True)
        check_eq(w.take('mail', wait='0s'), [])
        b.shows('#queue-rows .act', 'Resume')
        b.click('#queue-rows .act button:last-child')
        until(lambda: w.get('/v1/queues/mail').json['paused'] is False, 'it stays paused')
        check_eq(len(w.take('mail', wait='10s')), 1)


@test
def lists_of_jobs_and_tasks_are_shown():
    with Weir() as w, Browser() as b:
        ids = [w.enqueue('mail') for _ in range(3)]
        b.go(w.url + '/')
        b.click('#queue-rows .link')
        for id in ids:
            b.shows('#job-rows', id)
        b.click('#tasks summary')
        until(lambda: b.js('return document.querySelectorAll("#task-rows tr").length') > 2, 'no tasks are listed')
        check_eq(b.log(), [])


@test
def a_lost_connection_is_told_and_taken_up_again():
    with Browser() as b:
        with Weir() as w:
            b.go(w.url + '/')
            live(b)
        b.shows('#link', 'offline')
        with Weir(listen=w.addr) as w:
            id = w.enqueue('mail')
            live(b)
            in_lane(b, 'queued', id)
            b.shows('#n-waiting', '1')


@test
def it_looks_right_in_light_and_dark_and_on_a_phone():
    os.makedirs(PICTURES, exist_ok=True)
    with Weir() as w:
        for n in range(24):
            w.enqueue(('mail', 'images', 'billing')[n % 3], b'{"n": %d}' % n)
        for queue in ('mail', 'images'):
            for job in w.take(queue, max=5):
                w.ack(job)
        w.take('images', max=2)
        colours = set()
        for name, dark, width in (('light', False, 1360), ('dark', True, 1360), ('phone', False, 390)):
            with Browser(dark=dark, width=width) as b:
                b.go(w.url + '/')
                live(b)
                b.shows('#n-done', '10')
                b.shows('#lanes [data-state=done]', 'mail')
                colours.add(b.js('return getComputedStyle(document.body).backgroundColor'))
                check_eq(b.js('return document.documentElement.scrollWidth <= innerWidth'), True, f'{name}: scrolls sideways')
                check_eq(b.log(), [])
                until(lambda: b.js('return document.querySelector("#lanes").getAnimations({ subtree: true }).length') == 0)
                path = os.path.join(PICTURES, name + '.png')
                b.picture(path)
                check(os.path.getsize(path) > 20000, f'{name}: the picture is empty')
        check_eq(len(colours), 2, 'light and dark differ')


@test
def with_a_token_file_one_logs_in_and_out():
    with tempfile.TemporaryDirectory() as d:
        flags = ['--token-file', token_file(d, 'ops 0123456789abcdef0123456789abcdef admin\n')]
        with Weir(*flags) as w, Browser() as b:
            check_eq(w.get('/').status, 401)
            check_eq(w.get('/app.js').status, 401)
            b.go(w.url + '/')
            b.type('#token', 'wrong')
            b.click('button')
            b.shows('.wrong', 'not known')
            check_eq(b.cookies(), [])
            b.go(w.url + '/')
            b.type('#token', '0123456789abcdef0123456789abcdef')
            b.click('button')
            live(b)
            [cookie] = b.cookies()
            check_eq((cookie['httpOnly'], cookie['sameSite']), (True, 'Strict'))
            check_eq(b.js('return document.cookie'), '')
            b.click('#put button.main')
            b.shows('#put-answer', 'Queued as')
            b.shows('#n-waiting', '1')
            b.click('#logout button')
            until(lambda: b.js('return Boolean(document.querySelector("#token"))'), 'no form to log in')
            check_eq(b.cookies(), [])
            check_eq(w.get('/v1/queues').status, 401)


FOREIGN = '''<!doctype html><title>elsewhere</title><iframe name="hidden"></iframe>
<form method="post" target="hidden" action="%(url)s/v1/queues/stolen/jobs"><input name="a" value="b"></form>
<form method="post" target="hidden" enctype="text/plain" action="%(url)s/v1/queues/stolen/jobs"><input name="a" value="b"></form>
<form method="post" action="%(url)s/v1/queues/stolen/jobs"><input name="a" value="b"></form>
'''

ATTEMPTS = '''
const url = arguments[0], said = {};
const attempt = async (name, path, options) => {
	try {
		const r = await fetch(url + path, options);
		said[name] = r.type === "opaque" ? "opaque" : "read " + await r.text();
	} catch (e) {
		said[name] = "refused";
	}
};
await attempt("post, no-cors", "/v1/queues/stolen/jobs", { method: "POST", mode: "no-cors", body: "x", credentials: "include" });
await attempt("post, cors", "/v1/queues/stolen/jobs", { method: "POST", body: "x", credentials: "include" });
await attempt("post, json", "/v1/queues/stolen/jobs", { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } });
await attempt("put", "/v1/queues/stolen", { method: "PUT", body: "{}" });
await attempt("publish", "/v1/subjects/a", { method: "POST", mode: "no-cors", body: "x" });
await attempt("drain", "/v1/drain", { method: "POST", mode: "no-cors" });
await attempt("take", "/v1/queues/secret/take", { method: "POST", credentials: "include" });
await attempt("read", "/v1/queues", { credentials: "include" });
await attempt("read job", "/v1/jobs/" + arguments[1], {});
await attempt("read page", "/", {});
said.beacon = navigator.sendBeacon(url + "/v1/queues/stolen/jobs", "x");
said.events = await new Promise((done) => {
	const s = new EventSource(url + "/v1/subjects/weir.jobs.>/events");
	s.onopen = () => done("open");
	s.onerror = () => { s.close(); done("refused"); };
});
for (const f of [...document.forms].slice(0, 2))
	f.submit();
return said;
'''


class Elsewhere:
    """A web server of another origin with one page."""

    def __init__(self, page):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.encode()
                self.send_response(200)
                self.send_header('Content-Type', 'text/html')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *a):
        self.server.shutdown()
        self.server.server_close()


def untouched(w, id, **kw):
    names = [q['name'] for q in w.get('/v1/queues', **kw).json['queues']]
    check_eq(names, ['secret'])
    check_eq(w.get(f'/v1/jobs/{id}', **kw).json['state'], 'queued')
    check_eq(w.get('/readyz', **kw).status, 200)


def attack(w, b, id, host='127.0.0.1', **kw):
    with Elsewhere(FOREIGN % {'url': w.url}) as e:
        b.go(f'http://{host}:{e.port}/')
        for name, what in b.js(ATTEMPTS, w.url, id).items():
            check(what in ('opaque', 'refused', True), f'{name}: {what}')
        b.js('document.forms[2].submit()')
        b.shows('body', 'Forbidden')
    untouched(w, id, **kw)


@test
def a_page_of_another_origin_can_neither_enqueue_nor_read():
    with Weir() as w, Browser('--host-resolver-rules=MAP evil.test 127.0.0.1') as b:
        id = w.enqueue('secret', b'the combination is 1234')
        attack(w, b, id)
        attack(w, b, id, host='evil.test')


@test
def an_origin_that_is_allowed_can_do_both():
    """So the tests around this one fail for the right reason."""
    with Elsewhere('<title>friend</title>') as e:
        friend = f'http://127.0.0.1:{e.port}'
        with Weir('--allow-origin', friend) as w, Browser() as b:
            id = w.enqueue('secret', b'x')
            b.go(friend + '/')
            # Without what ends the server or the test's own job.
            script = '\n'.join(l for l in ATTEMPTS.split('\n') if '"drain"' not in l and '"take"' not in l)
            said = b.js(script, w.url, id)
            check_in(id, said['read job'])
            check_eq(said['read'], 'refused', 'with a cookie')
            check_eq(said['events'], 'open')
            until(lambda: w.get('/v1/queues/stolen').json['queued'] >= 3, lambda: w.get('/v1/queues/stolen').text)


@test
def a_name_that_was_rebound_to_loopback_reads_nothing():
    with Weir() as w, Browser('--host-resolver-rules=MAP evil.test 127.0.0.1') as b:
        id = w.enqueue('secret', b'the combination is 1234')
        b.go(f'http://evil.test:{w.port}/')
        check('Put a job' not in b.text('body'), 'the dashboard is served under a foreign name')
        b.go(f'http://evil.test:{w.port}/v1/jobs/{id}')
        check('secret' not in b.text('body'), b.text('body'))
        untouched(w, id)


@test
def another_origin_does_not_profit_from_the_cookie_of_who_has_logged_in():
    with tempfile.TemporaryDirectory() as d:
        secret = '0123456789abcdef0123456789abcdef'
        flags = ['--token-file', token_file(d, f'ops {secret} admin\n')]
        headers = {'Authorization': 'Bearer ' + secret}
        with Weir(*flags) as w, Browser() as b:
            a = w.post('/v1/queues/secret/jobs', b'x', headers=headers)
            check_eq(a.status, 202)
            b.go(w.url + '/')
            b.type('#token', secret)
            b.click('button')
            live(b)
            attack(w, b, a.json['id'], headers=headers)


def look(b, name):
    os.makedirs(PICTURES, exist_ok=True)
    b.picture(os.path.join(PICTURES, f'{name}.png'))


@test
def a_queue_is_judged_and_its_jobs_steered_from_the_page():
    with Weir() as w, Browser() as b:
        w.put('/v1/queues/orders', {'max_attempts': 1})
        for i in range(20):
            w.enqueue('orders', f'{{"order": {i}}}')
            w.ack(w.take('orders')[0], b'shipped')
        dead = w.enqueue('orders', b'poison')
        [job] = w.take('orders')
        w.post(f'/v1/jobs/{dead}/nack?lease={job["lease"]}&error=no+such+address')
        waiting = w.enqueue('orders', b'waits')
        b.go(w.url + '/')
        live(b)
        # Rates, percentiles, the oldest.
        until(lambda: re.search(r'waited [\d.]+ m?s · [\d.]+ m?s', b.text('#queue-rows .took') or ''),
              lambda: f'no percentiles: {b.text("#queue-rows")!r}')
        until(lambda: 'oldest' in b.text('#queue-rows .took'), 'no oldest job')
        look(b, 'queues')
        # Redrive: the dead job is queued again.
        b.click('#queue-rows button[aria-label^=Redrive]')
        until(lambda: w.job(dead)['state'] == 'queued', 'redrive does nothing')
        # Over an engine some may have to stay.
        b.js('window.fetch = ((f) => (p, o) => p.endsWith("/redrive") ? Promise.resolve(new Response(\'{"redriven":1,"left":2,"why":"large"}\'))'
             ' : f(p, o))(fetch); document.querySelector("#queue-rows button[aria-label^=Redrive]").onclick()')
        b.shows('#toast', 'Of the dead of orders 1 came back, 2 stayed: large')
        b.click('#queue-rows button[aria-label^=Pause]')
        until(lambda: w.get('/v1/queues/orders').json['paused'], 'pause does nothing')
        b.click('#queue-rows button[aria-label^=Resume]')
        until(lambda: not w.get('/v1/queues/orders').json['paused'], 'resume does nothing')
        # A job's page: history, payload, live progress.
        [job] = w.take('orders')
        check_eq(job['id'], waiting)
        b.click('#queue-rows button.link')
        until(lambda: b.js(f'return [...document.querySelectorAll("#job-rows button")].some((x) => x.innerText === "{waiting}")'), 'not listed')
        b.js(f'[...document.querySelectorAll("#job-rows button")].find((x) => x.innerText === "{waiting}").click()')
        b.shows('#job-payload', 'waits')
        b.shows('#job-history', 'running')
        for part in (0.25, 0.75):
            w.post(f'/v1/jobs/{waiting}/progress?lease={job["lease"]}', {'progress': part, 'note': f'{part} of it'})
            b.shows('#job-facts', f'{part} of it')
            check_eq(b.js('return document.querySelector("#job-bar i").style.width'), f'{part * 100:.0f}%')
        look(b, 'job-running')
        # Cancel reaches its worker; the page follows.
        b.click('#job-cancel')
        until(lambda: w.post(f'/v1/jobs/{waiting}/extend?lease={job["lease"]}').json == {'cancel': True}, 'cancel does nothing')
        w.post(f'/v1/jobs/{waiting}/nack?lease={job["lease"]}&error=stopped')
        b.shows('#job-state', 'cancelled')
        b.click('#job-retry')
        until(lambda: w.job(waiting)['state'] == 'queued', 'run again does nothing')
        jobs = {j['id']: j for j in w.take('orders', max=10)}
        w.ack(jobs[waiting], b'{"shipped": true}')
        b.shows('#job-state', 'done')
        b.shows('#job-result', 'shipped')
        look(b, 'job-done')
        check_eq(b.log(), [])


@test
def over_http_2_the_page_lives_beside_many_streams_on_one_connection():
    pair = certificate()
    with Weir('--tls-cert', pair + '.crt', '--tls-key', pair + '.key') as w, Browser('--ignore-certificate-errors') as b:
        b.go(f'https://127.0.0.1:{w.port}/')
        live(b)
        check_eq(b.js('return performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2')
        # Over HTTP/1.1 the seventh would wait for ever, and with it every other request.
        check_eq(b.js("""
            window.got = {};
            const opened = (i) => new Promise((resolve) => {
                const s = new EventSource(`/v1/subjects/room.${i}/events`);
                s.onmessage = (e) => { window.got[i] = e.data; };
                s.onopen = () => resolve(i);
            });
            return Promise.all([...Array(20).keys()].map(opened)).then((all) => all.length);"""), 20)
        check_eq(b.js("""
            return Promise.all([...Array(20).keys()].map((i) => fetch(`/v1/subjects/room.${i}`, {method: "POST", body: `to ${i}`})))
                .then((all) => all.every((a) => a.ok));"""), True)
        until(lambda: b.js('return [...Array(20).keys()].every((i) => window.got[i] === `to ${i}`)'),
              lambda: f'not all came: {b.js("return window.got")}')
        b.type('#put [name=queue]', 'mail')
        b.type('#put [name=payload]', 'beside them')
        b.click('#put button.main')
        b.shows('#put-answer', 'Queued as')
        in_lane(b, 'queued', b.text('#put-answer button'))
        # One connection carried all of it; Chromium opens a spare one at times.
        metrics = b.js('return fetch("/metrics").then((a) => a.text())')
        check(int(re.search(r'^weir_http_connections(?:\{[^}]*\})? (\d+)', metrics, re.M).group(1)) <= 2, metrics[:3000])
        check_eq(b.log(), [])


if __name__ == '__main__':
    main()
