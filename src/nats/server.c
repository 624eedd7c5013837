/* SPDX-License-Identifier: MIT */
/*
 * The server: its options, the accept loop, and the stop.
 *
 * The stop of weir_nats_serve(), each step only after the one before:
 *
 *	the listener closes, and who is through is served
 *	every client is told to leave (INFO with "ldm"), and may for lame_duck_ns
 *	who is still there is closed, some at a time so that not all come back to a cluster at once:
 *	  what it has sent is dealt with, what it has yet to get is written, then the stream ends
 *
 * What is to be done with every connection goes to the workers as messages (orders), since
 * connections without a task hear nothing else; the cancel comes by a hook and is such an order,
 * too. An order holds the group, so what it works on cannot go away.
 */
#include "nats/server.h"

#include <weir/sim.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "net/conn.h"
#include "rt/task.h"

enum { BATCH = 64, BATCHES = 20 };

#define BATCH_NS       WEIR_MS(50)
#define LAME_DUCK_PART 6 /* of what is left of the budget, at most */

/* ---- The server ---- */

void weir__nats_random_text(char *to, size_t n)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

	for (size_t i = 0; i < n; i++)
		to[i] = letters[weir_random(32)];
	to[n] = 0;
}

static void fill_in(weir_nats_options *o)
{
#define DEFAULT(field, value) \
	if (!o->field)        \
	o->field = (value)
	DEFAULT(name, "weir");
	DEFAULT(max_payload, WEIR__BUS_PAYLOAD_MAX);
	DEFAULT(max_control_line, 4096);
	DEFAULT(max_pending, (size_t)64 << 20);
	DEFAULT(max_pending_all, (size_t)1 << 30);
	DEFAULT(max_subs, 1000000);
	DEFAULT(max_conns, 65536);
	DEFAULT(ping_max, 2);
	DEFAULT(ping_ns, WEIR_MIN(2));
	DEFAULT(auth_ns, WEIR_SEC(2));
	DEFAULT(write_ns, WEIR_SEC(10));
	DEFAULT(lame_duck_ns, WEIR_SEC(2));
#undef DEFAULT
	if (o->max_control_line < 64)
		o->max_control_line = 64;
	if (o->max_payload > (size_t)64 << 20)
		o->max_payload = (size_t)64 << 20;
}

int weir_nats_server_new(weir_bus *bus, const weir_nats_options *opt, weir_nats_server **ret)
{
	weir_nats_server *n;

	weir__magic_check(bus, WEIR__BUS_MAGIC);
	if (!bus->broker || bus->remote)
		return -EOPNOTSUPP;
	n = calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	if (opt)
		n->opt = *opt;
	fill_in(&n->opt);
	n->name = strdup(n->opt.name);
	if (!n->name) {
		free(n);
		return -ENOMEM;
	}
	n->magic = WEIR__NATS_SERVER_MAGIC;
	n->broker = bus->broker;
	weir__broker_ref(n->broker);
	n->anybody = n->opt.sign_in ? NULL : (struct weir__rights *)n->opt.anybody;
	weir__nats_random_text(n->id, sizeof n->id - 1);
	for (int i = 0; i < 2; i++)
		n->seed[i] = (uint64_t)weir_random(UINT32_MAX) << 32 | weir_random(UINT32_MAX);
	n->started_ns = weir_now();
	n->started_wall = weir_wall();
	weir__list_init(&n->serving);
	*ret = n;
	return 0;
}

void weir_nats_server_free(weir_nats_server *n)
{
	if (!n)
		return;
	weir__magic_check(n, WEIR__NATS_SERVER_MAGIC);
	weir__assert(weir__list_empty(&n->serving),
	             "weir_nats_server_free() while weir_nats_serve() runs");
	for (int i = 0; i < n->worker_count; i++) {
		struct weir__nats_worker *w = &n->workers[i];
		struct weir__nats_block *b;
		struct weir__nats_chunk *k;

		weir__nats_forget(w);
		while ((b = w->blocks)) {
			w->blocks = b->next;
			free(b);
		}
		while ((k = w->chunks)) {
			w->chunks = k->next;
			free(k);
		}
	}
	weir__rights_unref(n->anybody);
	weir__broker_unref(n->broker);
	free(n->workers);
	free(n->name);
	n->magic = 0;
	free(n);
}

void weir_nats_stats_get(const weir_nats_server *n, weir_nats_stats *ret)
{
	weir__magic_check(n, WEIR__NATS_SERVER_MAGIC);
#define GET(field) ret->field = __atomic_load_n(&n->field, __ATOMIC_RELAXED)
	GET(conns);
	GET(conns_total);
	GET(subs);
	GET(in_msgs);
	GET(in_bytes);
	GET(out_msgs);
	GET(out_bytes);
	GET(slow);
	GET(stale);
	GET(refused);
	GET(ended_in_drain);
	GET(left_in_drain);
	GET(lost);
#undef GET
}

/* ---- Orders ---- */

struct order {
	struct weir__msg msg;
	struct weir__nats_serving *serving;
	struct weir__nats_worker *worker;
	void (*fn)(struct weir__nats_conn *c);
	unsigned most;
};

static void obey(struct weir__msg *msg)
{
	struct order *o = weir__container(msg, struct order, msg);
	struct weir__nats_serving *sv = o->serving;
	unsigned done = 0;

	/* Only this worker changes its list, and fn takes out no other than its own. */
	weir__list_each_safe (l, &o->worker->conns) {
		struct weir__nats_conn *c = weir__container(l, struct weir__nats_conn, link);

		if (c->serving != sv || (o->fn == weir__nats_conn_leave && c->leave))
			continue;
		if (done++ == o->most)
			break;
		weir__nats_conn_ref(c);
		o->fn(c);
		weir__nats_conn_unref(c);
	}
	free(o);
	weir_group_release(&sv->conns);
}

/* To all connections, or so many of each worker's. */
static void order(struct weir__nats_serving *sv, void (*fn)(struct weir__nats_conn *c),
                  unsigned most)
{
	for (int i = 0; i < sv->server->worker_count; i++) {
		struct order *o = malloc(sizeof *o);

		if (!o || weir_group_hold(&sv->conns) < 0) {
			weir__log(WEIR__ERROR, "nats", "no memory to tell the connections");
			free(o);
			return;
		}
		*o = (struct order){ .msg.fn = obey,
			             .serving = sv,
			             .worker = &sv->server->workers[i],
			             .fn = fn,
			             .most = most };
		weir__post(i, &o->msg);
	}
}

static void renew(struct weir__nats_conn *c)
{
	const weir_nats_options *o = &c->server->opt;
	weir_nats_user *user = NULL;

	if (!c->rights || c->leave)
		return;
	weir__nats_conn_renew(c, o->renew(c->rights->name, &user, o->arg) < 0 ?
	                                 NULL :
	                                 (struct weir__rights *)user);
}

void weir_nats_reload(weir_nats_server *n)
{
	weir__magic_check(n, WEIR__NATS_SERVER_MAGIC);
	if (!n->opt.sign_in || !n->opt.renew)
		return;
	weir__lock_acquire(&n->lock);
	weir__list_each (l, &n->serving)
		order(weir__container(l, struct weir__nats_serving, link), renew, UINT_MAX);
	weir__lock_release(&n->lock);
}

/* ---- Serving ---- */

static int open_workers(weir_nats_server *n)
{
	int r = 0, count = weir_worker_count();

	weir__lock_acquire(&n->lock);
	if (!n->workers) {
		struct weir__nats_worker *w = aligned_alloc(64, (size_t)count * sizeof *w);

		if (w) {
			memset(w, 0, (size_t)count * sizeof *w);
			for (int i = 0; i < count; i++)
				weir__list_init(&w[i].conns);
			n->workers = w;
			__atomic_store_n(&n->worker_count, count, __ATOMIC_RELEASE);
		} else {
			r = -ENOMEM;
		}
	}
	weir__lock_release(&n->lock);
	return r;
}

static void take_in(struct weir__nats_serving *sv, weir_conn *io)
{
	static const char full[] = "-ERR 'maximum connections exceeded'\r\n";
	weir_nats_server *n = sv->server;
	struct iovec iov = { (char *)(uintptr_t)full, sizeof full - 1 };

	__atomic_add_fetch(&n->conns_total, 1, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&n->conns, 1, __ATOMIC_RELAXED) <= n->opt.max_conns) {
		weir__nats_conn_start(sv, io);
		return;
	}
	__atomic_sub_fetch(&n->conns, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&n->refused, 1, __ATOMIC_RELAXED);
	(void)weir__conn_try_writev(io, &iov, 1);
	weir_conn_free(io);
}

static int accept_all(const weir_ctx *ctx, struct weir__nats_serving *sv, weir_listener *l)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	weir_conn *io;
	int r;

	while ((r = weir_accept(&live, l, &io)) > 0)
		take_in(sv, io);
	if (r != -ESHUTDOWN)
		return r;
	weir_listener_close(l);
	while ((r = weir_accept(ctx, l, &io)) > 0)
		take_in(sv, io);
	return r;
}

void weir__nats_serving_less(struct weir__nats_serving *sv)
{
	if (__atomic_sub_fetch(&sv->count, 1, __ATOMIC_SEQ_CST) == 0 &&
	    __atomic_load_n(&sv->leaving, __ATOMIC_SEQ_CST) &&
	    !__atomic_exchange_n(&sv->told, 1, __ATOMIC_SEQ_CST))
		weir_latch_down(&sv->gone);
}

/* Until all have gone or the time is over; 0: they have. */
static int wait_gone(const weir_ctx *ctx, struct weir__nats_serving *sv, int64_t ns)
{
	weir_ctx soon = weir_ctx_timeout(ctx, ns);

	if (__atomic_load_n(&sv->count, __ATOMIC_SEQ_CST) == 0)
		return 0;
	return weir_latch_wait(&soon, &sv->gone);
}

static void let_go(const weir_ctx *ctx, struct weir__nats_serving *sv)
{
	int64_t left = weir_stop_left(), time = sv->server->opt.lame_duck_ns;
	unsigned batch;
	int r;

	__atomic_store_n(&sv->leaving, 1, __ATOMIC_SEQ_CST);
	if (left != WEIR_NEVER && time > left / LAME_DUCK_PART)
		time = left / LAME_DUCK_PART;
	order(sv, weir__nats_conn_lame, UINT_MAX);
	r = wait_gone(ctx, sv, time);
	batch = __atomic_load_n(&sv->count, __ATOMIC_RELAXED) / BATCHES;
	if (batch < BATCH)
		batch = BATCH;
	for (int i = 0; r == -ETIMEDOUT && i < BATCHES; i++) {
		order(sv, weir__nats_conn_leave, batch);
		r = wait_gone(ctx, sv, BATCH_NS);
	}
	order(sv, weir__nats_conn_leave, UINT_MAX);
}

static void canceled(weir_hook *hook, int step)
{
	struct weir__nats_serving *sv = weir__container(hook, struct weir__nats_serving, hook);

	/* With the last connection gone the group may have been joined. */
	if (step == WEIR_CANCEL && __atomic_load_n(&sv->count, __ATOMIC_SEQ_CST))
		order(sv, weir__nats_conn_end, UINT_MAX);
}

static void note_addr(struct weir__nats_serving *sv, const weir_listener *l)
{
	const char *addr = weir_listener_addr(l), *colon = strrchr(addr, ':');
	size_t len = colon ? (size_t)(colon - addr) : strlen(addr);
	int64_t port;

	if (len >= sizeof sv->host)
		len = sizeof sv->host - 1;
	memcpy(sv->host, addr, len);
	if (colon && weir__parse_int(colon + 1, &port) == 0)
		sv->port = (int)port;
}

int weir_nats_serve(const weir_ctx *ctx, weir_nats_server *n, weir_listener *l, weir_tls *tls)
{
	struct weir__nats_serving sv = { .server = n, .tls = tls, .hook.fn = canceled };
	int r;

	weir__magic_check(n, WEIR__NATS_SERVER_MAGIC);
	r = open_workers(n);
	if (r < 0)
		return r;
	note_addr(&sv, l);
	weir_latch_init(&sv.gone, 1);
	weir_group_init(&sv.conns, ctx);
	r = weir_hook_add(ctx->scope, &sv.hook);
	if (r < 0) {
		weir_group_wait(&sv.conns);
		return r;
	}
	weir__lock_acquire(&n->lock);
	weir__list_append(&n->serving, &sv.link);
	weir__lock_release(&n->lock);
	r = accept_all(ctx, &sv, l);
	let_go(ctx, &sv);
	weir__lock_acquire(&n->lock);
	weir__list_remove(&sv.link);
	weir__lock_release(&n->lock);
	weir_group_wait(&sv.conns);
	weir_hook_remove(&sv.hook);
	return r == -ECANCELED || r == -ESHUTDOWN ? 0 : r;
}
