// SPDX-License-Identifier: MIT
// The compressed cases of gRPC's interoperability tests, by the C++ library:
//
//	peer server                     prints its address, serves until it is killed
//	peer client ADDRESS CASE...     as interop-client
#include <cstring>
#include <functional>
#include <grpcpp/grpcpp.h>
#include <iostream>
#include <map>

#include "interop.grpc.pb.h"

using namespace grpc::testing;

// Of the library's own headers, which are not installed: GRPC_WRITE_INTERNAL_COMPRESS, and
// GRPC_WRITE_INTERNAL_TEST_ONLY_WAS_COMPRESSED, which is left when the message was unpacked.
static const uint32_t COMPRESSED = 0xc0000000u;
extern uint32_t grpc_call_test_only_get_message_flags(grpc_call *call);

// The library names these as friends, so that its own interoperability tests can look inside.
namespace grpc::testing {
class InteropServerContextInspector {
public:
	static bool compressed(const grpc::ServerContextBase &c)
	{
		return grpc_call_test_only_get_message_flags(c.call_.call) & COMPRESSED;
	}
};
class InteropClientContextInspector {
public:
	static bool compressed(const grpc::ClientContext &c)
	{
		return grpc_call_test_only_get_message_flags(c.call_) & COMPRESSED;
	}
};
} // namespace grpc::testing

static void fill(Payload *p, size_t n)
{
	p->set_body(std::string(n, 0));
}

class Service : public TestService::Service {
	static grpc::Status judge(grpc::ServerContext *c, bool asked, bool want)
	{
		if (asked && InteropServerContextInspector::compressed(*c) != want)
			return grpc::Status(grpc::INVALID_ARGUMENT, "compression is not as announced");
		return grpc::Status::OK;
	}

	grpc::Status UnaryCall(grpc::ServerContext *c, const SimpleRequest *in, SimpleResponse *out) override
	{
		grpc::Status s = judge(c, in->has_expect_compressed(), in->expect_compressed().value());

		if (!s.ok())
			return s;
		if (in->has_response_compressed())
			c->set_compression_algorithm(in->response_compressed().value() ? GRPC_COMPRESS_GZIP :
			                                                                GRPC_COMPRESS_NONE);
		fill(out->mutable_payload(), in->response_size());
		return grpc::Status::OK;
	}

	grpc::Status StreamingInputCall(grpc::ServerContext *c, grpc::ServerReader<StreamingInputCallRequest> *reader,
	                                StreamingInputCallResponse *out) override
	{
		StreamingInputCallRequest in;
		int sum = 0;

		while (reader->Read(&in)) {
			grpc::Status s = judge(c, in.has_expect_compressed(), in.expect_compressed().value());

			if (!s.ok())
				return s;
			sum += in.payload().body().size();
		}
		out->set_aggregated_payload_size(sum);
		return grpc::Status::OK;
	}

	grpc::Status StreamingOutputCall(grpc::ServerContext *c, const StreamingOutputCallRequest *in,
	                                 grpc::ServerWriter<StreamingOutputCallResponse> *writer) override
	{
		c->set_compression_algorithm(GRPC_COMPRESS_GZIP);
		for (const auto &p : in->response_parameters()) {
			StreamingOutputCallResponse out;
			grpc::WriteOptions o;

			if (!p.compressed().value())
				o.set_no_compression();
			fill(out.mutable_payload(), p.size());
			writer->Write(out, o);
		}
		return grpc::Status::OK;
	}
};

static void need(bool ok, const char *what)
{
	if (!ok)
		throw std::runtime_error(what);
}

typedef TestService::Stub Stub;

static grpc::StatusCode unary(Stub &stub, bool expected, bool compressed)
{
	grpc::ClientContext c;
	SimpleRequest in;
	SimpleResponse out;

	in.mutable_expect_compressed()->set_value(expected);
	in.set_response_size(314159);
	fill(in.mutable_payload(), 271828);
	c.set_compression_algorithm(compressed ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE);
	grpc::Status s = stub.UnaryCall(&c, in, &out);
	need(!s.ok() || out.payload().body().size() == 314159, "size");
	return s.error_code();
}

static void client_compressed_unary(Stub &stub)
{
	need(unary(stub, true, false) == grpc::INVALID_ARGUMENT, "the probe");
	need(unary(stub, true, true) == grpc::OK, "compressed");
	need(unary(stub, false, false) == grpc::OK, "plain");
}

static void client_compressed_streaming(Stub &stub)
{
	StreamingInputCallRequest in;
	StreamingInputCallResponse out;
	grpc::WriteOptions plain;

	plain.set_no_compression();
	{
		grpc::ClientContext c;
		auto w = stub.StreamingInputCall(&c, &out);

		in.mutable_expect_compressed()->set_value(true);
		fill(in.mutable_payload(), 27182);
		w->Write(in, plain);
		w->WritesDone();
		need(w->Finish().error_code() == grpc::INVALID_ARGUMENT, "the probe");
	}
	grpc::ClientContext c;
	c.set_compression_algorithm(GRPC_COMPRESS_GZIP);
	auto w = stub.StreamingInputCall(&c, &out);
	need(w->Write(in), "compressed");
	in.mutable_expect_compressed()->set_value(false);
	fill(in.mutable_payload(), 45904);
	need(w->Write(in, plain), "plain");
	w->WritesDone();
	need(w->Finish().ok() && out.aggregated_payload_size() == 73086, "the sum");
}

static void server_compressed_unary(Stub &stub)
{
	for (bool compressed : { true, false }) {
		grpc::ClientContext c;
		SimpleRequest in;
		SimpleResponse out;

		in.mutable_response_compressed()->set_value(compressed);
		in.set_response_size(314159);
		fill(in.mutable_payload(), 271828);
		need(stub.UnaryCall(&c, in, &out).ok(), "status");
		need(InteropClientContextInspector::compressed(c) == compressed, "compressed as asked");
		need(out.payload().body().size() == 314159, "size");
	}
}

static void server_compressed_streaming(Stub &stub)
{
	StreamingOutputCallRequest in;
	StreamingOutputCallResponse out;
	grpc::ClientContext c;

	for (auto [size, compressed] : { std::pair(31415, true), std::pair(92653, false) }) {
		auto *p = in.add_response_parameters();

		p->set_size(size);
		p->mutable_compressed()->set_value(compressed);
	}
	auto r = stub.StreamingOutputCall(&c, in);
	need(r->Read(&out) && out.payload().body().size() == 31415, "first");
	need(InteropClientContextInspector::compressed(c), "first compressed");
	need(r->Read(&out) && out.payload().body().size() == 92653, "second");
	need(!InteropClientContextInspector::compressed(c), "second plain");
	need(!r->Read(&out) && r->Finish().ok(), "end");
}

static int client(const char *address, char **names)
{
	static const std::map<std::string, std::function<void(Stub &)>> cases = {
		{ "client_compressed_unary", client_compressed_unary },
		{ "client_compressed_streaming", client_compressed_streaming },
		{ "server_compressed_unary", server_compressed_unary },
		{ "server_compressed_streaming", server_compressed_streaming },
	};
	Stub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
	int passed = 0, failed = 0;

	for (; *names; names++) {
		try {
			cases.at(*names)(stub);
			std::cout << "ok " << *names << "\n";
			passed++;
		} catch (const std::exception &e) {
			std::cout << "not ok " << *names << ": " << e.what() << "\n";
			failed++;
		}
	}
	std::cout << passed << " passed, " << failed << " failed\n";
	return failed != 0;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "client"))
		return client(argv[2], argv + 3);
	grpc::ServerBuilder b;
	Service service;
	int port;

	b.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
	b.RegisterService(&service);
	auto s = b.BuildAndStart();
	std::cout << "127.0.0.1:" << port << std::endl;
	s->Wait();
}
