#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The service weir.v1 as a client of Python's gRPC library sees it: weir_v1.py ADDRESS CASE. Prints what came. TLS when
WEIR_TEST_CA names who vouches for the server."""
import os
import queue
import sys

import grpc
import health_pb2
import reflection_pb2
import weir_pb2 as pb


def stub(channel, name, kind, into, out, service='weir.v1.Weir'):
    return getattr(channel, kind)(f'/{service}/{name}', request_serializer=into.SerializeToString,
                                  response_deserializer=out.FromString)


class Worker:
    """A stream of jobs."""

    def __init__(self, channel, name, most=1):
        self.requests = queue.Queue()
        self.requests.put(pb.TakeRequest(start=pb.TakeStart(queue=name, max=most, worker='python')))
        take = stub(channel, 'Take', 'stream_stream', pb.TakeRequest, pb.TakeResponse)
        self.answers = take(iter(self.requests.get, None))

    def next(self):
        return next(self.answers)

    def ack(self, job, result=b''):
        self.requests.put(pb.TakeRequest(ack=pb.Ack(id=job.id, result=result)))

    def nack(self, job, why):
        self.requests.put(pb.TakeRequest(nack=pb.Nack(id=job.id, why=why, delay_ms=1)))

    def end(self):
        self.requests.put(None)


def enqueue(channel):
    call = stub(channel, 'Enqueue', 'unary_unary', pb.EnqueueRequest, pb.EnqueueResponse)
    first = call(pb.EnqueueRequest(queue='mail', payload=b'hello', idempotency_key='once'))
    again = call(pb.EnqueueRequest(queue='mail', payload=b'hello', idempotency_key='once'))
    print(first.id == again.id, first.existing, again.existing)
    try:
        call(pb.EnqueueRequest(queue='not a name', payload=b'x'))
    except grpc.RpcError as e:
        print(e.code().name)


def work(channel):
    w = Worker(channel, 'mail', 2)
    job = w.next().job
    print(job.queue, job.payload.decode(), job.attempt)
    w.nack(job, 'not now')
    # The job may be back before the disk has it that it was given back.
    answers = sorted((w.next(), w.next()), key=lambda a: a.HasField('job'))
    print('settled', answers[0].settled.stale)
    job = answers[1].job
    print(job.payload.decode(), job.attempt)
    w.ack(job, b'done')
    print('settled', w.next().settled.stale)
    w.end()
    print(sum(1 for _ in w.answers), w.answers.code().name)


def vanish(channel):
    w = Worker(channel, 'mail')
    print(w.next().job.id, flush=True)
    os._exit(0)


def leave(channel):
    w = Worker(channel, 'mail')
    print(w.next().job.attempt)
    w.end()
    print(sum(1 for _ in w.answers), w.answers.code().name)


def hold(channel):
    """Takes a job and finishes it only when its input ends; then the stream is to end."""
    w = Worker(channel, 'mail')
    job = w.next().job
    print('holding', flush=True)
    sys.stdin.read()
    w.ack(job)
    print('settled', w.next().settled.stale)
    try:
        w.next()
    except grpc.RpcError as e:
        print(e.code().name)


def cancelled(channel):
    """Holds two jobs and hears that the first is not wanted; answers both."""
    w = Worker(channel, 'mail', 2)
    jobs = [w.next().job, w.next().job]
    print('holding', flush=True)
    print('cancelled', w.next().cancelled.id == jobs[0].id, flush=True)
    w.nack(jobs[0], 'stopped')
    print('settled', w.next().settled.id == jobs[0].id)
    w.ack(jobs[1])
    print('settled', w.next().settled.stale)
    w.end()
    print(sum(1 for _ in w.answers), w.answers.code().name)


def messages(channel):
    subscribe = stub(channel, 'Subscribe', 'unary_stream', pb.SubscribeRequest, pb.Message)
    publish = stub(channel, 'Publish', 'unary_unary', pb.PublishRequest, pb.PublishResponse)
    request = stub(channel, 'Request', 'unary_unary', pb.PublishRequest, pb.Message)
    s = subscribe(pb.SubscribeRequest(subject='ticks.*'))
    s.initial_metadata()
    print(publish(pb.PublishRequest(subject='ticks.a', payload=b'1')).delivered)
    m = next(s)
    print(m.subject, m.payload.decode())
    s.cancel()
    for subject in ('nobody.here', 'weir.mine', 'a..b'):
        try:
            request(pb.PublishRequest(subject=subject))
        except grpc.RpcError as e:
            print(e.code().name)


def denied(channel):
    call = stub(channel, 'Enqueue', 'unary_unary', pb.EnqueueRequest, pb.EnqueueResponse)
    for metadata, name in (((), 'mail'), ((('authorization', 'Bearer secret-of-mail'),), 'mail'),
                           ((('authorization', 'Bearer secret-of-mail'),), 'other')):
        try:
            print('ok' if call(pb.EnqueueRequest(queue=name), metadata=metadata).id else '')
        except grpc.RpcError as e:
            print(e.code().name)


def around(channel):
    check = stub(channel, 'Check', 'unary_unary', health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse,
                 'grpc.health.v1.Health')
    listed = stub(channel, 'List', 'unary_unary', health_pb2.HealthListRequest, health_pb2.HealthListResponse,
                  'grpc.health.v1.Health')
    print(check(health_pb2.HealthCheckRequest()).status, check(health_pb2.HealthCheckRequest(service='weir.v1.Weir')).status)
    try:
        check(health_pb2.HealthCheckRequest(service='who'))
    except grpc.RpcError as e:
        print(e.code().name)
    print(sorted(listed(health_pb2.HealthListRequest()).statuses))
    watch = stub(channel, 'Watch', 'unary_stream', health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse,
                 'grpc.health.v1.Health')
    print(next(watch(health_pb2.HealthCheckRequest(service='who'))).status)
    for version in ('v1', 'v1alpha'):
        info = stub(channel, 'ServerReflectionInfo', 'stream_stream', reflection_pb2.ServerReflectionRequest,
                    reflection_pb2.ServerReflectionResponse, f'grpc.reflection.{version}.ServerReflection')
        asked = [reflection_pb2.ServerReflectionRequest(list_services=''),
                 reflection_pb2.ServerReflectionRequest(file_containing_symbol='weir.v1.Weir.Take'),
                 reflection_pb2.ServerReflectionRequest(file_by_filename='nothing.proto')]
        a, b, c = info(iter(asked))
        print([s.name for s in a.list_services_response.service])
        print(len(b.file_descriptor_response.file_descriptor_proto), c.error_response.error_code)


def connect(address):
    ca = os.environ.get('WEIR_TEST_CA')
    if not ca:
        return grpc.insecure_channel(address)
    with open(ca, 'rb') as f:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(f.read()))


with connect(sys.argv[1]) as channel:
    globals()[sys.argv[2]](channel)
