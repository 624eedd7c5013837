# SPDX-License-Identifier: MIT
"""Servers of the engines that tests run Weir over: a real nats-server, a real RabbitMQ, and the repo's own server of SQS's protocol."""
import functools
import socket

from weirtest import *


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Engine:
    """A server of an engine, which keeps its directory over kill() and start()."""
    keys = True     # idempotency keys, so that a put that was not confirmed can be made again
    ordered = True  # jobs come in the order they were put in
    holds = True    # what is held outlives the connection
    asks = True     # whether an ack without an answer was taken
    tells = True    # how many jobs run, also elsewhere
    ghosts = False  # after a kill it may count a message as given out that is gone
    kills = 10      # without --long

    def __init__(self, host='127.0.0.1', wrap=()):
        self.host, self.wrap = host, wrap
        self.dir = tempfile.mkdtemp(prefix='weir-test-engine-')
        self.port = free_port()
        self.url = f'{self.scheme}://{host}:{self.port}'
        self.start()

    @classmethod
    def missing(cls):
        """Why there is none; None if there is one."""
        return None if cls.name in built() else f'built without {cls.name}'

    def kill(self):
        self.program.kill()

    def settle(self):
        """What it made is to survive a kill from now on."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class JetStream(Engine):
    """The nats-server that is installed, or $WEIR_TEST_NATS_SERVER; each message synced where it can that (from 2.10 on)."""
    name, scheme, word = 'JetStream', 'nats', 'jetstream'
    ghosts = True
    server = os.environ.get('WEIR_TEST_NATS_SERVER', 'nats-server')

    @classmethod
    def missing(cls):
        return super().missing() or (None if shutil.which(cls.server) else 'no nats-server')

    @classmethod
    @functools.cache
    def syncs(cls):
        said = subprocess.run([cls.server, '--version'], capture_output=True, text=True, check=True).stdout
        return tuple(int(n) for n in re.search(r'v(\d+)\.(\d+)', said).groups()) >= (2, 10)

    def start(self):
        with open(f'{self.dir}/conf', 'w') as f:
            f.write(f'jetstream {{\nstore_dir: {self.dir}\n{"sync_interval: always" if self.syncs() else ""}\n}}\n')
        self.program = Program([*self.wrap, self.server, '-a', self.host, '-p', str(self.port), '-c', f'{self.dir}/conf'])
        self.program.wait_err('Server is ready')


class Sqs(Engine):
    name, scheme, word = 'SQS', 'sqs+http', 'sqs'
    keys = ordered = asks = False
    options = ()

    def start(self):
        os.environ.update(AWS_ACCESS_KEY_ID='AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY='wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
                          AWS_REGION='us-east-1')
        self.program = Program([*self.wrap, sys.executable, os.path.join(ROOT, 'tests/sqs_server.py'), '--host', self.host, '--port',
                                str(self.port), '--file', os.path.join(self.dir, 'sqs.log'), *self.options])
        self.program.wait_out(b'listening')


class RabbitMQ(Engine):
    """With a node, ports, an epmd and a directory of its own: one that this machine runs anyway is not met."""
    name, scheme, word = 'RabbitMQ', 'amqp', 'rabbitmq'
    keys = holds = tells = False
    kills = 3
    server = '/usr/lib/rabbitmq/bin/rabbitmq-server'
    epmd = tls = None

    @classmethod
    def missing(cls):
        return super().missing() or (None if os.access(cls.server, os.X_OK) else 'no rabbitmq-server')

    def start(self):
        if not self.epmd:
            self.ports = free_port(), free_port()
            self.epmd = Program([*self.wrap, 'epmd', '-d', '-port', str(self.ports[0])])
            self.epmd.wait_err('epmd running')
            with open(f'{self.dir}/conf', 'w') as f:
                f.write('loopback_users = none\n')  # guest may come from a namespace, too
                if self.tls:
                    f.write(f'listeners.ssl.default = {self.host}:{self.tls}\nssl_options.certfile = {certificate()}.crt\n'
                            f'ssl_options.keyfile = {certificate()}.key\nssl_options.verify = verify_none\n'
                            'ssl_options.fail_if_no_peer_cert = false\n')
        env = dict(PATH=os.environ['PATH'], HOME=self.dir, LANG='C.UTF-8', RUNNING_UNDER_SYSTEMD='1',  # no shell around it
                   RABBITMQ_NODENAME=f'weir{self.port}@localhost', RABBITMQ_NODE_IP_ADDRESS=self.host, RABBITMQ_NODE_PORT=self.port,
                   RABBITMQ_DIST_PORT=self.ports[1], RABBITMQ_MNESIA_BASE=f'{self.dir}/db', RABBITMQ_LOG_BASE=f'{self.dir}/log',
                   RABBITMQ_ENABLED_PLUGINS_FILE=f'{self.dir}/plugins', RABBITMQ_CONFIG_FILE=f'{self.dir}/conf',
                   ERL_EPMD_PORT=self.ports[0])
        self.env = [f'{k}={v}' for k, v in env.items()]
        self.program = Program([*self.wrap, 'env', '-i', *self.env, self.server])
        self.program.wait_out(b'completed with', limit=90)

    def settle(self):
        """RabbitMQ 3.10 syncs the file with the names of new quorum queues minutes later: a kill before that loses the queue."""
        subprocess.run([*self.wrap, 'env', '-i', *self.env, '/usr/lib/rabbitmq/bin/rabbitmqctl', '-n', f'weir{self.port}@localhost',
                        'eval', '[dets:sync(T) || T <- dets:all()].'], check=True, capture_output=True, timeout=60)

    def __exit__(self, *e):
        super().__exit__(*e)
        self.epmd.kill()


class RabbitTls(RabbitMQ):
    def start(self):
        self.tls = self.tls or free_port()
        super().start()


ENGINES = [JetStream, RabbitMQ, Sqs]


@functools.cache
def built():
    text = subprocess.run([program(), 'queues', '--engines', '--json'], capture_output=True, check=True).stdout
    return {e['name'] for e in json.loads(text)['engines'] if e['built']}


def on(*engines):
    """A test over each of these engines, with a server of its own; without one it says so and passes."""
    def decorate(fn):
        for e in engines:
            def wrapped(e=e):
                if e.missing():
                    print(f'skipped: {e.missing()}')
                    return
                with e() as n:
                    fn(n)
            wrapped.__name__ = f'{e.name.lower()}_{fn.__name__}'
            test(wrapped)
        return fn
    return decorate
