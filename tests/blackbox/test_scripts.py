# SPDX-License-Identifier: MIT
"""What people run first: script/server, when all is built, serves soon and says briefly what to try."""
from weirtest import *


@test
def the_server_script_serves_soon_and_says_in_five_lines_what_to_try():
    # Without the release build (script/test --quick) this would build one.
    if not os.environ.get('WEIR_RELEASE'):
        print('# skipped: no release build')
        return
    with tempfile.TemporaryDirectory() as d:
        start = time.monotonic()
        p = Program([f'{ROOT}/script/server', '--listen', '127.0.0.1:0', '--data', d])
        try:
            port = int(p.wait_err(r'listening on \S*:(\d+)').group(1))
            c = http.client.HTTPConnection('127.0.0.1', port, timeout=LIMIT)
            c.request('GET', '/readyz')
            check_eq(c.getresponse().status, 200)
            c.close()
            # 2 s on a quiet machine; here another test runs beside it.
            check(time.monotonic() - start < 6, f'served after {time.monotonic() - start:.1f} s')
            said = p.err[p.err.index('Open http'):].split('\n')
            hints = [line for line in said[:6] if line.startswith(('Open', '  '))]
            check(0 < len(hints) <= 5, hints)
            p.signal(signal.SIGTERM)
            check_eq(p.wait(), 0)
        finally:
            p.kill()


if __name__ == '__main__':
    main()
