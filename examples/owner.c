/* SPDX-License-Identifier: MIT */
/*
 * Many requests, one state: two ways. The accounts belong to one task, which handlers ask through a port, for at
 * most a second. The notes belong to a State with load and save, which is responsible for its own safety.
 *
 *	build/examples/example-owner 127.0.0.1:8080 &
 *	curl 'localhost:8080/accounts/7?add=25&ms=3000' &   # the owner takes 3 s for this one …
 *	curl -i localhost:8080/accounts/7                   # … so: 504 after 1 s, and the late reply is dropped
 *	curl -X PUT -d 'buy milk' localhost:8080/notes/1; curl localhost:8080/notes/1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/port.h>
#include <weir/server.h>
#include <weir/sync.h>

enum { IDS = 100, TEXT = 80 };
struct order { uint64_t id; int64_t add, ms; };

/* Only this task ever touches the balances: no lock. It runs until the server stops it. */
static int owner(const weir_ctx *ctx, void *port)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	int64_t balance[IDS] = { 0 };
	weir_call *call;
	struct order o;

	while (weir_port_recv(&live, port, &call, &o) > 0) {
		(void)weir_sleep(&live, WEIR_MS(o.ms));
		balance[o.id] += o.add;
		weir_call_reply(call, 0, &balance[o.id]);
	}
	weir_port_close(port); /* whoever still calls hears it at once */
	return 0;
}

static int account(const weir_ctx *ctx, weir_http *x, void *port)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
	const char *add = weir_http_query(x, "add"), *ms = weir_http_query(x, "ms");
	struct order o = { .add = add ? strtoll(add, NULL, 10) : 0, .ms = ms ? strtoll(ms, NULL, 10) : 0 };
	int64_t balance;
	int r = weir_http_path_u64(x, "id", &o.id);

	if (r < 0 || o.id >= IDS)
		return 404;
	r = weir_port_call(&soon, port, &o, &balance); /* -ETIMEDOUT answers 504 */
	return r < 0 ? r : weir_http_printf(ctx, x, "%lld\n", (long long)balance);
}

struct state { /* all that its handlers know: so either side is tested without the other */
	int (*load)(const weir_ctx *ctx, struct state *s, uint64_t id, char *text);
	int (*save)(const weir_ctx *ctx, struct state *s, uint64_t id, const char *text);
};

static int note(const weir_ctx *ctx, weir_http *x, void *arg)
{
	struct state *s = arg;
	char text[TEXT] = "";
	uint64_t id;
	int r = weir_http_path_u64(x, "id", &id);

	if (r < 0 || id >= IDS)
		return 404;
	if (strcmp(weir_http_method(x), "PUT") != 0) {
		r = s->load(ctx, s, id, text);
		return r < 0 ? r : weir_http_printf(ctx, x, "%s\n", text);
	}
	r = (int)weir_http_read_all(ctx, x, text, TEXT - 1);
	return r < 0 ? r : s->save(ctx, s, id, text);
}

/* One such State: in memory, under a mutex whose wait ends with the request's. */
struct memory { struct state state; weir_mutex lock; char text[IDS][TEXT]; };

static int memory_copy(const weir_ctx *ctx, struct memory *m, char *to, const char *from)
{
	int r = weir_mutex_lock(ctx, &m->lock);

	if (r < 0)
		return r;
	memcpy(to, from, TEXT);
	weir_mutex_unlock(&m->lock);
	return 0;
}

static int memory_load(const weir_ctx *ctx, struct state *s, uint64_t id, char *text)
{
	return memory_copy(ctx, (struct memory *)s, text, ((struct memory *)s)->text[id]);
}

static int memory_save(const weir_ctx *ctx, struct state *s, uint64_t id, const char *text)
{
	return memory_copy(ctx, (struct memory *)s, ((struct memory *)s)->text[id], text);
}

static int app(const weir_ctx *ctx, void *addr)
{
	static struct memory m = { .state = { memory_load, memory_save } };
	weir_server *s = weir_server_new(NULL);
	weir_port *port = NULL;
	int r = s ? weir_port_new(&port, sizeof(struct order), sizeof(int64_t), 64) : -ENOMEM;

	weir_mutex_init(&m.lock);
	if (r == 0 && (r = weir_server_service(s, "accounts", owner, port, NULL)) == 0 &&
	    (r = weir_http_route(weir_server_http(s), "/accounts/{id}", account, port, NULL)) == 0 &&
	    (r = weir_http_route(weir_server_http(s), "/notes/{id}", note, &m, NULL)) == 0 &&
	    (r = weir_server_listen(s, addr)) == 0 &&
	    fprintf(stderr, "listening on %s\n", weir_server_addr(s, 0)) > 0)
		r = weir_server_run(ctx, s);
	weir_server_free(s);
	weir_port_free(port);
	return r;
}

int main(int argc, char **argv)
{
	return weir_main(app, argc > 1 ? argv[1] : ":8080");
}
