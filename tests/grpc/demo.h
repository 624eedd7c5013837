/* SPDX-License-Identifier: MIT */
/* A gRPC server over memory and a channel to it, for the tests of src/grpc. */
#ifndef WEIR_TESTS_GRPC_DEMO_H
#define WEIR_TESTS_GRPC_DEMO_H

#include <errno.h>
#include <weir/chan.h>
#include <weir/grpc_protobuf.h>
#include <weir/sync.h>

#include "../http/site.h"

struct demo {
	struct site site;
	weir_grpc_channel *channel;
};

static inline void demo_new(struct demo *d)
{
	site_new(&d->site, NULL);
}

static inline void demo_method(struct demo *d, const char *name, weir_grpc_fn *fn, void *arg)
{
	CHECK_EQ(weir_grpc_method(d->site.server, name, fn, arg), 0);
}

static inline void demo_start(const weir_ctx *ctx, struct demo *d)
{
	site_start(ctx, &d->site);
	CHECK_EQ(weir_grpc_channel_new("mem:site", NULL, &d->channel), 0);
}

static inline void demo_stop(struct demo *d)
{
	weir_grpc_channel_free(d->channel);
	site_stop(&d->site);
}

static inline int echo(const weir_ctx *ctx, weir_grpc *call, void *arg)
{
	const void *msg;
	size_t n;
	int r;

	(void)arg;
	while ((r = weir_grpc_recv(ctx, call, &msg, &n)) > 0)
		if ((r = weir_grpc_send(ctx, call, msg, n)) < 0)
			break;
	return r;
}

/* The status of a call with one message each way. */
static inline int call_once(const weir_ctx *ctx, struct demo *d, const char *method,
                            const char *text)
{
	const void *msg;
	weir_grpc *call;
	size_t n;
	int r = weir_grpc_unary(ctx, d->channel, method, NULL, text, strlen(text), &call, &msg, &n);

	if (r == 0)
		CHECK(n == strlen(text) && !memcmp(msg, text, n));
	weir_grpc_free(call);
	return r;
}

#endif
