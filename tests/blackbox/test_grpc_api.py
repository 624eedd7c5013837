# SPDX-License-Identifier: MIT
"""The service weir.v1 of the program, its health and its reflection, by Python's gRPC library."""
import pathlib
import shutil

from h2wire import H2
from weirtest import *

SCRIPT = pathlib.Path(ROOT) / 'tests/interop/weir_v1.py'
PYTHON = '/usr/bin/python3'  # the library belongs to Debian's interpreter


def have_library():
    return shutil.which('protoc') and os.path.exists(PYTHON) and \
        not subprocess.run([PYTHON, '-c', 'import grpc, google.protobuf'], capture_output=True).returncode


def built_with_grpc():
    return (pathlib.Path(program()).parent / 'tests/interop/interop-server').exists()


def generated():
    into = tempfile.mkdtemp()
    proto = pathlib.Path(ROOT) / 'proto'
    subprocess.run(['protoc', f'--python_out={into}', f'-I{proto}', f'-I{proto}/weir/v1', 'health.proto', 'reflection.proto',
                    str(proto / 'weir/v1/weir.proto')], check=True)
    # protoc puts a file where it lies below the first path that holds it.
    inner = pathlib.Path(into) / 'weir/v1/weir_pb2.py'
    if inner.exists():
        shutil.move(inner, pathlib.Path(into) / 'weir_pb2.py')
    return into


def client(w, case, **env):
    return subprocess.Popen([PYTHON, str(SCRIPT), f'127.0.0.1:{w.port}', case],
                            env={**os.environ, 'PYTHONPATH': MESSAGES, **env},
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(w, case, **env):
    c = client(w, case, **env)
    out, err = c.communicate(timeout=3 * LIMIT)
    check_eq(c.returncode, 0, err)
    return out.splitlines()


@test
def a_job_is_taken_and_answered_over_one_stream():
    with Weir() as w:
        check_eq(lines(w, 'enqueue'), ['True False True', 'INVALID_ARGUMENT'])
        check_eq(lines(w, 'work'), ['mail hello 1', 'settled False', 'hello 2', 'settled False', '0 OK'])
        check_eq(w.get('/v1/queues/mail').json['done'], 1)


@test
def a_worker_that_loses_its_stream_gives_its_lease_back_at_once():
    with Weir() as w:
        id = w.enqueue('mail', b'x')
        check_eq(lines(w, 'vanish'), [id])
        until(lambda: w.job(id)['state'] in ('queued', 'delayed'))
        check_eq(lines(w, 'leave'), ['2', '0 OK'])
        check_eq(w.job(id)['state'], 'queued')
        # Who ends its stream in order has not tried the job.
        check_eq(lines(w, 'leave')[0], '2')


@test
def a_worker_is_told_that_a_job_it_holds_is_not_wanted():
    with Weir() as w:
        first, second = w.enqueue('mail', b'x'), w.enqueue('mail', b'y')
        c = client(w, 'cancelled')
        check_eq(c.stdout.readline().strip(), 'holding')
        check_eq(w.delete(f'/v1/jobs/{first}').json.get('cancel'), True)
        out, err = c.communicate(timeout=3 * LIMIT)
        check_eq(c.returncode, 0, err)
        check_eq(out.splitlines(), ['cancelled True', 'settled True', 'settled False', '0 OK'])
        check_eq((w.job(first)['state'], w.job(second)['state']), ('cancelled', 'done'))


@test
def a_drain_waits_for_what_is_held():
    with Weir() as w:
        id = w.enqueue('mail', b'x')
        c = client(w, 'hold')
        check_eq(c.stdout.readline().strip(), 'holding')
        os.kill(w.pid, signal.SIGTERM)
        out, err = c.communicate(timeout=3 * LIMIT)
        check_eq(c.returncode, 0, err)
        check_eq(out.splitlines(), ['settled False', 'UNAVAILABLE'])


@test
def messages_are_published_followed_and_asked_for():
    with Weir() as w:
        check_eq(lines(w, 'messages'), ['1', 'ticks.a 1', 'NOT_FOUND', 'PERMISSION_DENIED', 'INVALID_ARGUMENT'])


@test
def tokens_and_rights_hold_for_calls():
    with tempfile.NamedTemporaryFile('w') as f:
        f.write('mail secret-of-mail put:mail\n')
        f.flush()
        os.chmod(f.name, 0o600)
        with Weir('--token-file', f.name) as w:
            check_eq(lines(w, 'denied'), ['UNAUTHENTICATED', 'ok', 'PERMISSION_DENIED'])


@test
def a_refusal_is_one_head_with_a_status_of_grpc():
    with tempfile.NamedTemporaryFile('w') as f:
        f.write('mail secret-of-mail put:mail\n')
        f.flush()
        os.chmod(f.name, 0o600)
        with Weir('--token-file', f.name) as w, H2(w.port) as c:
            def ask(stream, path, *more, type='application/grpc'):
                c.request(stream, 'POST', path, ('te', 'trailers'), ('content-type', type), *more, body=bytes(5))
                return c.answer(stream)
            wrong = ('authorization', 'Bearer nobody')
            for stream, a in (1, ask(1, '/weir.v1.Weir/Enqueue')), (3, ask(3, '/weir.v1.Weir/Enqueue', wrong)), \
                    (5, ask(5, '/no.Such/Method')):
                check_eq((a.status, a.header('grpc-status'), a.header('content-type')), (200, '16', 'application/grpc'))
                check_in('token', a.header('grpc-message'))
                check_eq((a.body, a.trailers, a.header('content-length')), (b'', None, None))
                check_eq([f.type for f in c.log if f.stream == stream and f.type < 2], [1])
            a = ask(7, '/weir.v1.Weir/Enqueue', ('origin', 'http://elsewhere.example'))
            check_eq((a.status, a.header('grpc-status'), a.header('content-length')), (200, '7', None))
            a = ask(9, '/weir.v1.Weir/Enqueue', type='application/json')
            check_eq((a.status, a.header('grpc-status')), (401, None))
            check(len(a.body) > 0)
            a = ask(11, '/no.Such/Method', ('authorization', 'Bearer secret-of-mail'))
            check_eq((a.status, a.header('grpc-status'), a.header('content-length')), (200, '12', None))


@test
def health_and_reflection_tell_what_is_there():
    services = str(['weir.v1.Weir', 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection'])
    with Weir() as w:
        check_eq(lines(w, 'around'), ['1 1', 'NOT_FOUND', "['', 'weir.v1.Weir']", '3'] + 2 * [services, '1 5'])


def cli(w, *args, scheme='grpc', **kw):
    return subprocess.Popen([program(), args[0], '--server', f'{scheme}://127.0.0.1:{w.port}', *args[1:]], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **kw)


def says(p):
    out, err = p.communicate(timeout=3 * LIMIT)
    return p.returncode, out.strip(), err.strip()


@test
def the_command_line_speaks_grpc_when_the_url_says_so():
    with Weir() as w:
        status, id, err = says(cli(w, 'enqueue', 'mail', 'hello'))
        check_eq((status, err), (0, ''))
        check_eq(w.job(id)['state'], 'queued')
        s = cli(w, 'subscribe', 'news.*', '--count', '1')
        until(lambda: says(cli(w, 'publish', 'news.today', 'rain')) == (0, '1', ''))
        check_eq(says(s), (0, 'rain', ''))
        status, _, err = says(cli(w, 'request', 'nobody', 'x'))
        check_eq(status, 1)
        check_in('nobody answers', err)
        # What weir.v1 has no method for goes over HTTP/2.
        status, out, err = says(cli(w, 'queues'))
        check('mail' in out and (status, err) == (0, ''), (status, out, err))
        status, out, _ = says(cli(w, 'jobs', id, '--json'))
        check_eq((status, json.loads(out)['state']), (0, 'queued'))
        check_eq(says(cli(w, 'work', 'mail', '--once', '--', 'tr', 'a-z', 'A-Z')), (0, '', ''))
        check_eq((w.job(id)['state'], w.job(id)['result']), ('done', 'HELLO'))
        r = cli(w, 'reply', 'sums', '--', 'cat')
        until(lambda: says(cli(w, 'request', 'sums', '42')) == (0, '42', ''))
        r.terminate()
        r.communicate()
    check_eq(says(cli(w, 'publish', 'news', 'x'))[0], 4)


@test
def over_tls_it_is_the_same():
    pair = certificate()
    with Weir('--tls-cert', pair + '.crt', '--tls-key', pair + '.key') as w:
        check_eq(lines(w, 'enqueue', WEIR_TEST_CA=pair + '.crt'), ['True False True', 'INVALID_ARGUMENT'])
        check_eq(lines(w, 'work', WEIR_TEST_CA=pair + '.crt')[-1], '0 OK')
        check_eq(lines(w, 'messages', WEIR_TEST_CA=pair + '.crt')[1], 'ticks.a 1')
        status, id, err = says(cli(w, 'enqueue', 'mail', 'hello', scheme='grpcs'))
        check_eq((status, err), (0, ''))
        s = cli(w, 'subscribe', 'news.*', '--count', '1', scheme='grpcs')
        until(lambda: says(cli(w, 'publish', 'news.today', 'rain', scheme='grpcs')) == (0, '1', ''))
        check_eq(says(s), (0, 'rain', ''))
        check_eq(says(cli(w, 'work', 'mail', '--drain', '--', 'true', scheme='grpcs')), (0, '', ''))
        check_in('done', says(cli(w, 'jobs', id, scheme='grpcs'))[1])
        # Without TLS, and without trust.
        check_eq(says(cli(w, 'publish', 'news', 'x'))[0], 4)
        p = cli(w, 'publish', 'news', 'x', scheme='grpcs', env={k: v for k, v in os.environ.items() if k != 'WEIR_CA'})
        status, _, err = says(p)
        check_eq(status, 4)
        check_in('certificate', err)


if __name__ == '__main__':
    if have_library() and built_with_grpc():
        MESSAGES = generated()
        main()
        shutil.rmtree(MESSAGES)
    else:
        print('skipped: no gRPC, or no library of Python')
        print('0 passed, 0 failed')
