# SPDX-License-Identifier: MIT
"""Webhooks: what is sent, what the answers mean, and where nothing is sent to."""
import hashlib
import hmac
import http.server

from weirtest import *

KEY = bytes(range(32))
SECRET = 'whsec_' + base64.b64encode(KEY).decode()


class Receiver:
    """A server that keeps what it got and answers as `answers` says: (status, headers, body), or None to hang up. The last
    answer stays."""

    def __init__(self, *answers):
        self.answers, self.got = list(answers), []
        self.release = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = self.rfile.read(int(self.headers['content-length']))
                receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if answer == 'wait':
                    receiver.release.wait(LIMIT)
                    answer = None
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header('content-length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_port}/hook?a=b'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def serving(url, more='', private=True):
    with tempfile.TemporaryDirectory() as d:
        with open(f'{d}/secret', 'w') as f:
            f.write(SECRET + '\n')
        with open(f'{d}/weir.yaml', 'w') as f:
            f.write(f'queues:\n  hook:\n    webhook: "{url}"\n    webhook-secret-file: {d}/secret\n'
                    f'    webhook-private: {str(private).lower()}\n{more}')
        with Weir('--config', f'{d}/weir.yaml') as w:
            yield w


def ends(w, id, state):
    until(lambda: w.job(id)['state'] == state, lambda: f'not {state}: {w.job(id)}')
    return w.job(id)


@test
def a_job_is_posted_signed_and_its_answer_is_the_result():
    with Receiver((200, {}, b'thanks')) as r, serving(r.url) as w:
        id = w.enqueue('hook', b'{"a":1}', Content_Type='application/json')
        check_eq(ends(w, id, 'done')['result'], 'thanks')
        [(path, headers, body)] = r.got
        check_eq((path, body), ('/hook?a=b', b'{"a":1}'))
        check_eq((headers['content-type'], headers['webhook-id'], headers['weir-queue'], headers['weir-attempt']),
                 ('application/json', id, 'hook', '1'))
        at = headers['webhook-timestamp']
        check(abs(int(at) - time.time()) < 60)
        mac = hmac.new(KEY, f'{id}.{at}.'.encode() + body, hashlib.sha256).digest()
        check_eq(headers['webhook-signature'], 'v1,' + base64.b64encode(mac).decode())


@test
def a_failure_is_tried_again_under_the_same_id():
    with Receiver((500, {}, b'no'), None, (302, {'location': '/other'}, b''), (204, {}, b'')) as r, \
            serving(r.url, '    backoff: 10ms\n') as w:
        id = w.enqueue('hook')
        job = ends(w, id, 'done')
        check_eq(job['attempts'], 4)
        check_eq([h['webhook-id'] for _, h, _ in r.got], [id] * 4)
        check_eq([h['weir-attempt'] for _, h, _ in r.got], ['1', '2', '3', '4'])
        check_eq({p for p, _, _ in r.got}, {'/hook?a=b'}, 'a redirect was followed')
        notes = [h.get('note') for h in job['history'] if h['event'] == 'failed']
        check_in('500', notes[0])
        check_in('302', notes[2])


@test
def four_hundred_and_ten_pauses_the_queue_and_keeps_the_job():
    with Receiver((410, {}, b''), (200, {}, b'')) as r, serving(r.url) as w:
        id = w.enqueue('hook')
        until(lambda: w.get('/v1/queues/hook').json['paused'], 'the queue is not paused')
        until(lambda: w.job(id)['state'] == 'queued', 'the job did not go back')
        check_eq(w.job(id)['attempts'], 0)
        w.wait_err('answered 410: queue hook is paused')
        w.post('/v1/queues/hook/resume')
        ends(w, id, 'done')


@test
def retry_after_is_honoured_by_all_workers_of_the_queue():
    with Receiver((429, {'Retry-After': '2'}, b''), (200, {}, b'')) as r, serving(r.url, '    workers: 1\n') as w:
        start = time.monotonic()
        first = w.enqueue('hook', b'first')
        until(lambda: w.job(first)['state'] == 'delayed', 'the first job was not put off')
        second = w.enqueue('hook', b'second')
        ends(w, second, 'done')
        check(time.monotonic() - start > 1.5, 'the second was sent before')
        check_eq(w.job(second)['attempts'], 1)
        ends(w, first, 'done')


@test
def a_cancel_and_a_limit_end_the_request():
    with Receiver('wait') as r, serving(r.url, '    attempts: 1\n') as w:
        id = w.enqueue('hook')
        until(lambda: r.got, 'nothing was sent')
        w.delete(f'/v1/jobs/{id}')
        ends(w, id, 'cancelled')
        id = w.enqueue('hook', Weir_Timeout='200ms')
        check_in('limit', ends(w, id, 'dead')['error'])


@test
def a_private_address_is_refused_unless_it_is_allowed():
    with Receiver((200, {}, b'')) as r:
        port = r.server.server_port
        # Also by a name, and in other spellings of the same address.
        for host in ('127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '2130706433', '0x7f.1', '10.1.2.3', '169.254.169.254'):
            with serving(f'http://{host}:{port}/', '    attempts: 1\n    timeout: 10s\n', private=False) as w:
                id = w.enqueue('hook')
                check_in('private', ends(w, id, 'dead')['error'])
        check_eq(r.got, [])


@test
def what_is_no_webhook_is_refused_at_the_start():
    with tempfile.TemporaryDirectory() as d:
        for text, what in [('webhook: "ftp://a/"', 'not a URL'), ('webhook: "http://u:p@a/"', 'not a URL'),
                           ('webhook: "http:///x"', 'not a URL'), ('webhook: "http://a:99999/"', 'not a URL'),
                           (f'webhook: "http://a/", webhook-secret-file: {d}/none', 'No such file'),
                           (f'webhook: "http://a/", webhook-secret-file: {d}/c.yaml', 'whsec_'),
                           ('webhook: "http://a/", exec: [true]', 'exclude each other'),
                           ('webhook-private: true', 'no webhook')]:
            with open(f'{d}/c.yaml', 'w') as f:
                f.write(f'queues: {{q: {{{text}}}}}\n')
            status, out, err = cli('serve', '--data', d, '--listen', '127.0.0.1:0', '--config', f'{d}/c.yaml')
            check(status != 0, text)
            check_in(what, err)


@test
def a_stop_gives_a_request_under_way_back():
    with Receiver('wait') as r, tempfile.TemporaryDirectory() as d:
        with open(f'{d}/weir.yaml', 'w') as f:
            f.write(f'grace: 1s\nqueues:\n  hook: {{webhook: "{r.url}", webhook-private: true}}\n')
        w = Weir('--config', f'{d}/weir.yaml')
        try:
            id = w.enqueue('hook')
            until(lambda: r.got, 'nothing was sent')
            w.signal(signal.SIGTERM)
            check_eq(w.wait(), 0, w.err)
            w.check_clean()
            check_in('1 returned', w.err)
        finally:
            w.kill()
            shutil.rmtree(w.own, ignore_errors=True)


if __name__ == '__main__':
    main()
