// SPDX-License-Identifier: MIT
// bench/grpc.c's unary method in C++ gRPC, by its completion queue: the fastest of its ways.
#include <grpcpp/grpcpp.h>
#include <iostream>

#include "interop.grpc.pb.h"

using namespace grpc::testing;

struct Call {
	TestService::AsyncService *service;
	grpc::ServerCompletionQueue *queue;
	grpc::ServerContext context;
	SimpleRequest in;
	SimpleResponse out;
	grpc::ServerAsyncResponseWriter<SimpleResponse> writer{ &context };
	bool answered = false;

	Call(TestService::AsyncService *s, grpc::ServerCompletionQueue *q) : service(s), queue(q)
	{
		service->RequestUnaryCall(&context, &in, &writer, queue, queue, this);
	}

	void go()
	{
		if (answered) {
			delete this;
			return;
		}
		new Call(service, queue);
		out.mutable_payload()->set_body(std::string(in.response_size(), 0));
		answered = true;
		writer.Finish(out, grpc::Status::OK, this);
	}
};

int main()
{
	TestService::AsyncService service;
	grpc::ServerBuilder b;
	int port;
	void *tag;
	bool ok;

	b.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
	b.RegisterService(&service);
	auto queue = b.AddCompletionQueue();
	auto server = b.BuildAndStart();
	for (int i = 0; i < 256; i++)
		new Call(&service, queue.get());
	std::cout << "listening on 127.0.0.1:" << port << std::endl;
	while (queue->Next(&tag, &ok))
		if (ok)
			static_cast<Call *>(tag)->go();
		else
			delete static_cast<Call *>(tag);
}
