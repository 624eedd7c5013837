/* SPDX-License-Identifier: MIT */
/*
 * Many requests, one state: two ways. The accounts belong to one task, which handlers ask through
 * a port, for at most a second. The notes belong to a State that sees to its own safety.
 *	build/examples/example-owner 127.0.0.1:8080 &
 *	curl localhost:8080/accounts/7/25          # adds 25, says 25
 *	curl localhost:8080/accounts/7/3000        # a coin a millisecond: 504 after 1 s, the late reply is dropped
 *	curl -X PUT -d 'buy milk' localhost:8080/notes/1; curl localhost:8080/notes/1
 */
#include <stdio.h>
#include <string.h>
#include <weir/port.h>
#include <weir/server.h>
#include <weir/sync.h>

enum { IDS = 100, COINS = 1000000, TEXT = 80 };
struct order {
	uint64_t id, coins;
};

/* Only this task ever touches the balances: no lock. It runs until the server stops it. */
static int owner(const weir_ctx *ctx, void *port)
{
	weir_ctx live = weir_ctx_until_drain(ctx);
	uint64_t balance[IDS] = { 0 };
	weir_call *call;
	struct order o;

	while (weir_port_recv(&live, port, &call, &o) > 0) {
		(void)weir_sleep(&live, WEIR_MS(o.coins));
		balance[o.id] += o.coins;
		weir_call_reply(call, 0, &balance[o.id]);
	}
	weir_port_close(port); /* whoever still calls hears it at once */
	return 0;
}

static int ask(const weir_ctx *ctx, weir_http *x, void *port)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(1));
	struct order o;
	uint64_t balance;
	int r;

	if (weir_http_path_u64(x, "id", &o.id) < 0 || weir_http_path_u64(x, "n", &o.coins) < 0 ||
	    o.id >= IDS || o.coins > COINS)
		return 404;
	r = weir_port_call(&soon, port, &o, &balance); /* -ETIMEDOUT answers 504 */
	return r < 0 ? r : weir_http_printf(ctx, x, "%llu\n", (unsigned long long)balance);
}

struct state { /* handlers know only load and save: so either side is tested without the other */
	int (*load)(const weir_ctx *ctx, struct state *s, uint64_t id, char *text);
	int (*save)(const weir_ctx *ctx, struct state *s, uint64_t id, const char *text);
	weir_mutex lock; /* the wait for it ends with the request's */
	char text[IDS][TEXT];
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

static int copy(const weir_ctx *ctx, struct state *s, char *to, const char *from)
{
	int r = weir_mutex_lock(ctx, &s->lock);

	if (r < 0)
		return r;
	memcpy(to, from, TEXT);
	weir_mutex_unlock(&s->lock);
	return 0;
}

static int load(const weir_ctx *ctx, struct state *s, uint64_t id, char *text)
{
	return copy(ctx, s, text, s->text[id]);
}

static int save(const weir_ctx *ctx, struct state *s, uint64_t id, const char *text)
{
	return copy(ctx, s, s->text[id], text);
}

static int app(const weir_ctx *ctx, void *addr)
{
	static struct state notes = { .load = load, .save = save };
	weir_server *s = weir_server_new(NULL);
	weir_port *port = NULL;
	int r = s ? weir_port_new(&port, sizeof(struct order), sizeof(uint64_t), 64) : -ENOMEM;

	weir_mutex_init(&notes.lock);
	if (r == 0 && (r = weir_server_service(s, "accounts", owner, port, NULL)) == 0 &&
	    (r = weir_http_route(weir_server_http(s), "/accounts/{id}/{n}", ask, port, NULL)) ==
	            0 &&
	    (r = weir_http_route(weir_server_http(s), "/notes/{id}", note, &notes, NULL)) == 0 &&
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
