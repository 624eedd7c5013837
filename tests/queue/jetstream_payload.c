/* SPDX-License-Identifier: MIT */
/* JetStream of a NATS server that takes small messages only: what is larger is refused at the call,
 * and what is taken can also die and come back. */
#include "engine_servers.h"
#include "queue_test.h"

#include <weir/bus.h>

enum { MAX = 4096 };

/* False: there is no nats-server. */
static bool start(struct engine_server *e)
{
	char path[64];
	FILE *f;

	engine_dir(e);
	e->server.port = free_port();
	snprintf(e->url, sizeof e->url, "nats://127.0.0.1:%d", e->server.port);
	snprintf(path, sizeof path, "%s/conf", e->dir);
	f = fopen(path, "w");
	CHECK(f);
	fprintf(f, "listen: \"127.0.0.1:%d\"\nmax_payload: %d\njetstream { store_dir: \"%s\" }\n",
	        e->server.port, MAX, e->dir);
	CHECK_EQ(fclose(f), 0);
	return server_start(&e->server, (char *[]){ "nats-server", "-c", path, NULL },
	                    "Server is ready");
}

static void over(const weir_ctx *ctx, void (*fn)(const weir_ctx *ctx, const char *url))
{
	struct engine_server e = { .missing = "" };

	if (!row_named("JetStream")->built)
		skip("not built");
	else if (start(&e))
		fn(ctx, e.url);
	else
		skip("nats-server is not installed");
	engine_end(&e);
}

static int put_of(const weir_ctx *ctx, weir_store *s, size_t len)
{
	static const char bytes[2 * MAX];
	weir_job_spec spec = { .data = bytes, .len = len };
	char id[27];

	return weir_job_put(ctx, s, "q", &spec, id);
}

static weir_job *get(const weir_ctx *ctx, weir_store *s)
{
	weir_ctx some = weir_ctx_timeout(ctx, WEIR_SEC(30));
	weir_job *j = NULL;

	CHECK_EQ(weir_job_take(&some, s, "q", NULL, &j), 1);
	return j;
}

static size_t length(const weir_job *j)
{
	size_t len;

	(void)weir_job_data(j, &len);
	return len;
}

static void a_job(const weir_ctx *ctx, const char *url)
{
	static char why[MAX];
	size_t largest = MAX;
	weir_store *s;
	weir_job *j;

	CHECK_EQ(weir_store_open(ctx, url, NULL, &s), 0);
	CHECK_EQ(put_of(ctx, s, MAX), -EMSGSIZE);
	while (put_of(ctx, s, --largest) == -EMSGSIZE)
		;
	CHECK(largest > MAX - 300 && largest < MAX);
	j = get(ctx, s);
	CHECK_EQ(length(j), largest);
	memset(why, 'y', sizeof why - 1);
	CHECK_EQ(weir_lease_bury(ctx, s, weir_job_id(j), weir_job_lease(j), why), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	CHECK_EQ(weir_queue_refresh(ctx, s, "q"), 0);
	CHECK_EQ(info(s, "q").dead, 1);
	CHECK_EQ(weir_queue_redrive(ctx, s, "q", NULL), 1);
	j = get(ctx, s);
	CHECK_EQ(length(j), largest);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

TASK(a_job_larger_than_the_server_takes_is_refused_and_the_largest_may_die_and_come_back)
{
	over(ctx, a_job);
}

static void among_the_dead(const weir_ctx *ctx, const char *url)
{
	static const char bytes[MAX];
	weir_redrive_left left;
	weir_store *s;
	weir_bus *b;
	weir_job *j;

	CHECK_EQ(weir_store_open(ctx, url, NULL, &s), 0);
	CHECK_EQ(put_of(ctx, s, 1), 0);
	CHECK_EQ(weir_bus_open(ctx, url, &b), 0); /* Somebody else's, and one of ours behind it. */
	CHECK_EQ(weir_bus_publish(ctx, b, "weir.dead.q", bytes, MAX), 0);
	CHECK_EQ(weir_bus_flush(ctx, b), 0);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
	j = get(ctx, s);
	CHECK_EQ(weir_lease_bury(ctx, s, weir_job_id(j), weir_job_lease(j), "no"), 0);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), -ESTALE);
	for (int again = 0; again < 2; again++) {
		CHECK_EQ(weir_queue_redrive(ctx, s, "q", &left), !again);
		CHECK_EQ(left.n, 1);
		CHECK_STR(left.why, "message 1: it is larger than the server takes");
	}
	CHECK_EQ(weir_queue_refresh(ctx, s, "q"), 0);
	CHECK_EQ(info(s, "q").dead, 1);
	j = get(ctx, s);
	CHECK_EQ(length(j), 1);
	CHECK_EQ(weir_job_ack(ctx, j, NULL, 0), 0);
	store_end(ctx, s);
}

TASK(a_dead_message_too_large_to_be_put_again_stays_and_the_others_come_back)
{
	over(ctx, among_the_dead);
}

static void a_message(const weir_ctx *ctx, const char *url)
{
	static const char bytes[MAX + 1];
	weir_msg m = { .subject = "a", .data = bytes, .len = MAX };
	weir_sub *s;
	weir_bus *b;

	CHECK_EQ(weir_bus_open(ctx, url, &b), 0);
	CHECK_EQ(weir_bus_follow(ctx, b, "a", NULL, &s), 0);
	CHECK_EQ(weir_bus_publish(ctx, b, "a", bytes, MAX + 1), -EMSGSIZE);
	CHECK_EQ(weir_bus_publish(ctx, b, "a", bytes, MAX), 0);
	m.headers = "A: b\r\n";
	CHECK_EQ(weir_bus_publish_msg(ctx, b, &m), -EMSGSIZE);
	m.len = MAX - strlen(m.headers) - 14;
	CHECK_EQ(weir_bus_publish_msg(ctx, b, &m), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(weir_sub_next(ctx, s, &m), 1);
	weir_sub_close(s);
	CHECK_EQ(weir_bus_drain(ctx, b), 0);
}

TASK(a_message_larger_than_the_server_takes_is_refused_at_the_call)
{
	over(ctx, a_message);
}
