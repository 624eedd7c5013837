# SPDX-License-Identifier: MIT
"""What README.md tells a newcomer to do works."""
from weirtest import *

README = open(os.path.join(ROOT, 'README.md')).read()
BUILD = os.environ.get('WEIR_BUILD') or os.path.dirname(os.path.abspath(program()))


def get(port, path):
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=LIMIT)
    try:
        c.request('GET', path)
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


@test
def its_program_compiles_serves_and_stops():
    source = re.search(r'```c\n(.*?)```', README, re.S).group(1)
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, 'hello.c'), 'w') as f:
            # A port of its own, so that tests can run beside each other.
            f.write(source.replace('127.0.0.1:8081', '127.0.0.1:0').replace(
                'weir_server_run(ctx, server)', '(puts(weir_server_addr(server, 0)), fflush(stdout), weir_server_run(ctx, server))'
            ).replace('#include <weir/weir.h>', '#include <stdio.h>\n#include <weir/weir.h>'))
        sanitize = ['-fsanitize=address,undefined'] if 'asan' in os.path.basename(BUILD) else []
        exe = os.path.join(d, 'hello')
        subprocess.run(['gcc', '-Wall', '-Wextra', '-Werror', '-o', exe, os.path.join(d, 'hello.c'), f'-I{ROOT}/include', f'-L{BUILD}',
                        '-lweir', f'-Wl,-rpath,{BUILD}', *sanitize], check=True)
        p = Program([exe])
        try:
            p.wait_out(rb':\d+\n')
            port = int(p.out.rsplit(b':', 1)[1])
            check_eq(get(port, '/hello/ada'), (200, b'hello, ada\n'))
            check_eq(get(port, '/nowhere')[0], 404)
            p.signal(signal.SIGTERM)
            check_eq(p.wait(), 0)
            p.check_clean()
        finally:
            p.kill()


@test
def its_commands_enqueue_run_and_watch_a_job():
    with Weir() as w, w.events('/v1/subjects/weir.jobs.>/events') as events:
        check_in('/v1/queues/mail/jobs', README)
        check_in("/v1/subjects/weir.jobs.>/events", README)
        a = w.post('/v1/queues/mail/jobs', b'hello\n')
        check_eq(a.status, 202)
        check_eq(a.headers['location'], '/v1/jobs/' + a.json['id'])
        worker = Program([program(), 'work', 'mail', '--server', w.url, '--', 'sh', '-c', 'cat >&2'])
        try:
            worker.wait_err('hello')
            until(lambda: w.job(a.json['id'])['state'] == 'done', 'the job is not done')
            worker.signal(signal.SIGTERM)
            check_eq(worker.wait(), 0)
        finally:
            worker.kill()
        seen = []
        while 'done' not in seen:
            seen.append(json.loads(events.next()['data'])['event'])
        check_eq(seen, ['queued', 'running', 'done'])


if __name__ == '__main__':
    main()
