# SPDX-License-Identifier: MIT
"""A port of this process behind which a server speaks TLS, so that a test written for plain sockets is one of TLS, too.

One thread pumps all connections. Ends are passed on as they are: a client's end of stream as goodbye and end, the server's goodbye as an
end, and whatever else ends a connection, an end without a goodbye too, as a reset.
"""
import contextlib
import selectors
import socket
import ssl
import struct
import threading

ROOM = 256 * 1024  # bytes that wait for a slow reader, each way


class Pair:
    def __init__(self, tunnel, client, server):
        self.tunnel, self.client, self.server = tunnel, client, server
        self.inside, self.outside = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tunnel.context.wrap_bio(self.inside, self.outside, server_hostname='127.0.0.1')
        self.to_client, self.to_server, self.waiting = bytearray(), bytearray(), bytearray()
        self.shaken = self.client_ended = self.server_ended = self.told_server = self.told_client = False
        for s in (client, server):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pump()

    def take(self, s):
        """What a socket has; b'' at its end; None for nothing."""
        try:
            return s.recv(65536)
        except BlockingIOError:
            return None

    def send(self, s, data):
        while data:
            try:
                del data[:s.send(data)]
            except BlockingIOError:
                return

    def secure(self):
        """Moves what OpenSSL can move."""
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
            if self.waiting:
                self.tls.write(self.waiting)
                self.waiting.clear()
            while not self.server_ended:
                data = self.tls.read(65536)
                if data:
                    self.to_client += data
                else:
                    self.server_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.server_ended = True
        self.to_server += self.outside.read()

    def step(self):
        if not self.client_ended and len(self.to_server) < ROOM:
            data = self.take(self.client)
            if data == b'':
                self.client_ended = True
            elif data:
                self.waiting += data
        if not self.inside.eof and len(self.to_client) < ROOM:
            data = self.take(self.server)
            if data == b'':
                self.inside.write_eof()
            elif data:
                self.inside.write(data)
        self.secure()
        if self.client_ended and not self.told_server and not self.waiting:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
            self.to_server += self.outside.read()
        self.send(self.server, self.to_server)
        self.send(self.client, self.to_client)
        if self.client_ended and not self.told_server and not self.waiting and not self.to_server:
            self.told_server = True
            self.server.shutdown(socket.SHUT_WR)
        if self.server_ended and not self.told_client and not self.to_client:
            self.told_client = True
            self.client.shutdown(socket.SHUT_WR)

    def pump(self):
        try:
            self.step()
        except (OSError, ValueError):
            return self.close(reset=True)
        if self.told_client and self.told_server:
            return self.close()
        self.tunnel.want(self.client, self, not self.client_ended and len(self.to_server) < ROOM, self.to_client)
        self.tunnel.want(self.server, self, not self.inside.eof and len(self.to_client) < ROOM, self.to_server)

    def close(self, reset=False):
        for s in (self.client, self.server):
            self.tunnel.want(s, self, False, False)
            if reset:
                with contextlib.suppress(OSError):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            s.close()


class Tunnel(threading.Thread):
    def __init__(self, port, ca):
        super().__init__(daemon=True)
        self.context = ssl.create_default_context(cafile=ca)
        self.to = port
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.bell, self.rope = socket.socketpair()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.bell, selectors.EVENT_READ)
        self.start()

    def want(self, s, pair, read, write):
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = s.fileno() in self.selector.get_map()
        if events and known:
            self.selector.modify(s, events, pair)
        elif events:
            self.selector.register(s, events, pair)
        elif known:
            self.selector.unregister(s)

    def accept(self):
        with contextlib.suppress(OSError):
            client, _ = self.listener.accept()
            try:
                Pair(self, client, socket.create_connection(('127.0.0.1', self.to)))
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                client.close()

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.bell:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj.fileno() >= 0:
                    key.data.pump()

    def close(self):
        self.rope.send(b'x')
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.rope.close()
        self.selector.close()
