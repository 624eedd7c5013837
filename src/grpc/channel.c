/* SPDX-License-Identifier: MIT */
/*
 * Channels: where the connections of a client come from.
 *
 * A call stays on its worker, and so does the connection under it: each worker that calls has its
 * own, so that streams need no lock. The first task that needs a connection dials it, in its own
 * time; the others wait for it, and one of them goes on when it is called away. So a channel has no
 * task of its own, and nothing dials when nobody waits.
 *
 * Back-off as gRPC's connection-backoff.md: 1 s after the first failure, then 1.6 times as long up
 * to 120 s, each varied by a fifth. Meanwhile calls fail with the last error, or wait if they are
 * told to.
 */
#include "grpc/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <weir/sim.h>

#include "base/assert.h"
#include "net/addr.h"
#include "rt/msg.h"
#include "rt/wait.h"

static void failed(weir_grpc_channel *ch, struct weir__grpc_slot *slot, int error)
{
	double ns = (double)ch->opt.backoff_ns;

	for (unsigned i = 0; i < slot->failures && ns < (double)ch->opt.backoff_max_ns; i++)
		ns *= 1.6;
	if (ns > (double)ch->opt.backoff_max_ns)
		ns = (double)ch->opt.backoff_max_ns;
	ns *= 0.8 + 0.0004 * weir_random(1000);
	slot->failures++;
	slot->error = error;
	slot->not_before_ns = weir_now() + (int64_t)ns;
}

static int dial(const weir_ctx *ctx, weir_grpc_channel *ch, int64_t keepalive_ns, weir__h2c **ret)
{
	struct weir__h2c_options opt = { keepalive_ns, ch->opt.keepalive_timeout_ns };
	weir_ctx soon = weir_ctx_timeout(ctx, ch->opt.connect_ns);
	const char *protocol;
	weir_conn *io;
	int r;

	r = weir_dial(&soon, ch->address, &io);
	if (r == 0 && ch->host) {
		r = weir_tls_connect(&soon, ch->opt.tls, ch->host, &io);
		if (r < 0)
			weir_conn_free(io);
	}
	if (r == -ETIMEDOUT && weir_ctx_left(ctx) > 0)
		return -EHOSTUNREACH;
	if (r < 0)
		return r;
	protocol = weir_conn_alpn(io);
	if (ch->host && (!protocol || strcmp(protocol, "h2") != 0))
		r = -EPROTONOSUPPORT;
	else
		r = weir__h2c_new(io, &opt, ret);
	if (r < 0)
		weir_conn_free(io);
	return r;
}

static int try_to_dial(const weir_ctx *ctx, weir_grpc_channel *ch, struct weir__grpc_slot *slot)
{
	int r;

	slot->turn.taken = true;
	r = dial(ctx, ch, slot->keepalive_ns, &slot->conn);
	/* The context's end says nothing about the server: somebody else goes on. */
	if (r < 0 && r != -ECANCELED && r != -ETIMEDOUT && r != -ESHUTDOWN)
		failed(ch, slot, r);
	weir__h2_turn_give(&slot->turn);
	return r;
}

int weir__grpc_connection(const weir_ctx *ctx, weir_grpc_channel *ch, bool wait, weir__h2c **ret)
{
	struct weir__grpc_slot *slot = &ch->slots[weir_worker()];
	int r = weir__wait_check(ctx);
	int64_t left;

	while (r == 0) {
		int state = slot->conn ? weir__h2c_state(slot->conn) : 0;

		if (slot->conn && state == 0) {
			if (weir__h2c_settled(slot->conn))
				slot->failures = 0;
			*ret = slot->conn;
			return 0;
		}
		if (slot->conn) {
			if (state != -ESHUTDOWN && !weir__h2c_settled(slot->conn))
				failed(ch, slot, state);
			if (weir__h2c_too_many_pings(slot->conn) &&
			    slot->keepalive_ns < WEIR_NEVER / 2)
				slot->keepalive_ns *= 2;
			weir__h2c_close(slot->conn);
			slot->conn = NULL;
		}
		left = slot->not_before_ns - weir_now();
		if (slot->turn.taken) {
			r = weir__h2_turn_wait(ctx, &slot->turn);
		} else if (left > 0 && !wait) {
			return slot->error;
		} else if (left > 0) {
			r = weir_sleep(ctx, left);
		} else {
			r = try_to_dial(ctx, ch, slot);
			if (wait && r < 0 && slot->not_before_ns > weir_now())
				r = 0;
		}
	}
	return r;
}

/* ---- life ---- */

static char *copy(const char *text)
{
	size_t n = strlen(text) + 1;
	char *p = malloc(n);

	return p ? memcpy(p, text, n) : NULL;
}

/* Without the port and the brackets of an IPv6 address. */
static char *host_of(const char *target)
{
	char *host = copy(target), *end = host ? strrchr(host, ':') : NULL;

	if (end)
		*end = 0;
	if (host && *host == '[' && end && end[-1] == ']') {
		end[-1] = 0;
		memmove(host, host + 1, strlen(host));
	}
	return host;
}

int weir_grpc_channel_new(const char *target, const weir_grpc_channel_options *opt,
                          weir_grpc_channel **ret)
{
	weir_grpc_channel_options o = opt ? *opt : (weir_grpc_channel_options){ 0 };
	int workers = weir_worker_count();
	struct weir__addr address;
	weir_grpc_channel *ch;
	bool tls;

	tls = !strncmp(target, "grpcs://", 8);
	if (tls && !o.tls)
		return -EINVAL;
	if (tls)
		target += 8;
	else if (!strncmp(target, "grpc://", 7))
		target += 7;
	else if (strncmp(target, "unix:", 5) != 0 && strncmp(target, "mem:", 4) != 0)
		return -EINVAL;
	if (weir__addr_parse(target, &address) < 0)
		return -EINVAL;
	ch = aligned_alloc(64,
	                   (sizeof *ch + (size_t)workers * sizeof *ch->slots + 63) & ~(size_t)63);
	if (!ch)
		return -ENOMEM;
	*ch = (weir_grpc_channel){ .magic = WEIR__GRPC_CHANNEL_MAGIC,
		                   .scheme = tls ? "https" : "http",
		                   .workers = workers };
	for (int i = 0; i < workers; i++) {
		ch->slots[i] = (struct weir__grpc_slot){ 0 };
		weir__list_init(&ch->slots[i].turn.waiting);
	}
	ch->address = copy(target);
	ch->authority = copy(o.authority                     ? o.authority :
	                     address.kind == WEIR__ADDR_UNIX ? "localhost" :
	                                                       target);
	if (tls)
		ch->host = host_of(target);
	if (!ch->address || !ch->authority || (tls && !ch->host)) {
		weir_grpc_channel_free(ch);
		return -ENOMEM;
	}
	o.authority = NULL;
	o.recv_max = weir__grpc_recv_max(o.recv_max);
	o.backoff_ns = o.backoff_ns ? o.backoff_ns : WEIR_SEC(1);
	o.backoff_max_ns = o.backoff_max_ns ? o.backoff_max_ns : WEIR_SEC(120);
	o.connect_ns = o.connect_ns ? o.connect_ns : WEIR_SEC(20);
	o.keepalive_ns = o.keepalive_ns == WEIR_NEVER ? 0 : o.keepalive_ns;
	o.keepalive_timeout_ns = o.keepalive_timeout_ns ? o.keepalive_timeout_ns : WEIR_SEC(20);
	ch->opt = o;
	for (int i = 0; i < workers; i++)
		ch->slots[i].keepalive_ns = o.keepalive_ns;
	*ret = ch;
	return 0;
}

struct closing {
	struct weir__msg msg;
	struct weir__grpc_slot *slot;
	struct weir__wait wait;
};

static void close_slot(struct weir__msg *m)
{
	struct closing *c = weir__container(m, struct closing, msg);

	if (c->slot->conn)
		weir__h2c_close(c->slot->conn);
	c->slot->conn = NULL;
	if (weir__wait_claim(&c->wait, 0))
		weir__wait_wake(&c->wait);
}

void weir_grpc_channel_free(weir_grpc_channel *ch)
{
	if (!ch)
		return;
	weir__magic_check(ch, WEIR__GRPC_CHANNEL_MAGIC);
	for (int i = 0; i < ch->workers && weir_in_task(); i++) {
		struct closing c = { .msg.fn = close_slot, .slot = &ch->slots[i] };

		weir__wait_init(&c.wait);
		weir__post(i, &c.msg);
		weir__wait_park_hard(&c.wait, "grpc channel close", ch);
	}
	ch->magic = 0;
	free(ch->address);
	free(ch->authority);
	free(ch->host);
	free(ch);
}

int weir_grpc_channel_intercept(weir_grpc_channel *ch, weir_grpc_fn *fn, void *arg)
{
	struct weir__grpc_interceptors *in = &ch->interceptors;

	weir__magic_check(ch, WEIR__GRPC_CHANNEL_MAGIC);
	if (in->n == WEIR__GRPC_INTERCEPTORS)
		return -ENOSPC;
	in->v[in->n].fn = fn;
	in->v[in->n++].arg = arg;
	return 0;
}
