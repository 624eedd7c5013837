# SPDX-License-Identifier: MIT
"""gRPC's interoperability cases between Weir and the official libraries, in both directions. A library that is not installed is
skipped by name."""
import pathlib
import shutil

from weirtest import *

INTEROP = pathlib.Path(ROOT) / 'tests/interop'
CASES = ['empty_unary', 'large_unary', 'client_streaming', 'server_streaming', 'ping_pong', 'empty_stream', 'custom_metadata',
         'status_code_and_message', 'special_status_message', 'unimplemented_method', 'unimplemented_service',
         'cancel_after_begin', 'cancel_after_first_response', 'timeout_on_sleeping_server', 'rpc_soak', 'channel_soak']
COMPRESSED = ['client_compressed_unary', 'client_compressed_streaming', 'server_compressed_unary', 'server_compressed_streaming']
LONG_LIMIT = 200


def build():
    return pathlib.Path(program()).parent


def ours(what):
    path = build() / 'tests/interop' / f'interop-{what}'
    return [str(path)] if path.exists() else None


def run_quietly(command, **kw):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **kw)


def made(name, command):
    """A directory below the build's that `command` fills once."""
    path = build() / name
    if not (path / 'done').exists():
        path.mkdir(exist_ok=True)
        p = run_quietly(command, cwd=path)
        check_eq(p.returncode, 0, p.stderr)
        (path / 'done').touch()
    return path


def python():
    """The library belongs to Debian's interpreter, which may not be the first one in PATH."""
    exe = '/usr/bin/python3'
    if not os.path.exists(exe) or run_quietly([exe, '-c', 'import grpc, google.protobuf']).returncode or not shutil.which('protoc'):
        return None
    path = made('interop-python', ['protoc', '--python_out=.', f'--proto_path={INTEROP}', 'interop.proto'])
    return ['env', f'PYTHONPATH={path}', exe, str(INTEROP / 'peer.py')]


def node():
    modules = pathlib.Path(ROOT) / 'tests/clients/node_modules'
    if not shutil.which('node') or not (modules / '@grpc/grpc-js').exists():
        return None
    return ['env', f'NODE_PATH={modules}', 'node', str(INTEROP / 'peer.js')]


def cpp():
    plugin = shutil.which('grpc_cpp_plugin')
    if not plugin or not shutil.which('g++') or run_quietly(['pkg-config', '--exists', 'grpc++', 'protobuf']).returncode:
        return None
    flags = run_quietly(['pkg-config', '--cflags', '--libs', 'grpc++', 'protobuf']).stdout.split()
    path = made('interop-cpp', ['sh', '-ec', f'''
        protoc -I{INTEROP} --cpp_out=. --grpc_out=. --plugin=protoc-gen-grpc={plugin} interop.proto
        g++ -O0 -std=c++17 -I. {INTEROP}/peer.cc interop.pb.cc interop.grpc.pb.cc {' '.join(flags)} -o peer'''])
    return [str(path / 'peer')]


@contextlib.contextmanager
def serving(command):
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = p.stdout.readline().strip()
        check(address, lambda: p.stderr.read())
        yield address
    finally:
        p.terminate()
        said = p.communicate()[1]
    check(not SANITIZER.search(said), said)


def between(server, client, cases):
    with serving(server) as address:
        p = run_quietly([*client, address, *cases], timeout=LONG_LIMIT)
    bad = [line for line in p.stdout.splitlines() if line.startswith('not ok')]
    check_eq(bad, [])
    check_eq(p.stdout.splitlines()[-1:], [f'{len(cases)} passed, 0 failed'], p.stderr)


def our_client():
    return ['sh', '-c', 'exe=$0; a=$1; shift; exec "$exe" "grpc://$a" "$@"', *ours('client')]


def with_peer(name, peer, cases):
    if not ours('server'):
        print(f'skipped: {name} (built without gRPC)')
        return
    if not peer:
        print(f'skipped: {name} (not installed)')
        return
    between(ours('server'), [*peer, 'client'], cases)
    between([*peer, 'server'], our_client(), cases)


@test
def our_client_and_our_server_agree():
    if ours('server'):
        between(ours('server'), our_client(), CASES + COMPRESSED)


@test
def the_library_of_python_both_ways():
    with_peer('python3-grpcio', python(), CASES)


@test
def the_library_of_node_both_ways():
    with_peer('@grpc/grpc-js', node(), CASES)


@test
def compressed_messages_with_the_library_of_cpp_both_ways():
    with_peer('libgrpc++', cpp(), COMPRESSED)


if __name__ == '__main__':
    main()
