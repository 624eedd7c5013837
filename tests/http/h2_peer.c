/* SPDX-License-Identifier: MIT */
/* A server of HTTP/2 that means no good, as our client meets it: what it sends is said here frame
 * by frame. */
#include <arpa/inet.h>
#include <weir/http_client.h>

#include "http/h2_client.h"

#include "site.h"

enum { SEEDS = 20, OUT_MAX = 1 << 20, ASKED = 24 + 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };
enum { HEADERS = 1, SETTINGS = 4, PING = 6, CONTINUATION = 9 };

/* Speaks when the first request has begun, and then reads to the end. */
struct peer {
	weir_listener *listener;
	weir_group group;
	char out[OUT_MAX];
	size_t n;
	uint64_t heard;
};

static void add(struct peer *p, unsigned type, unsigned flags, uint32_t stream, const void *bytes,
                size_t n)
{
	unsigned char head[9] = { (unsigned char)(n >> 16), (unsigned char)(n >> 8),
		                  (unsigned char)n, (unsigned char)type, (unsigned char)flags };

	CHECK(p->n + sizeof head + n <= OUT_MAX);
	stream = htonl(stream);
	memcpy(head + 5, &stream, 4);
	memcpy(p->out + p->n, head, sizeof head);
	memcpy(p->out + p->n + sizeof head, bytes, n);
	p->n += sizeof head + n;
}

static int peer_serve(const weir_ctx *ctx, void *arg)
{
	struct peer *p = arg;
	char buf[4096];
	weir_conn *c;
	ssize_t n;
	bool said = false;

	CHECK_EQ(weir_accept(ctx, p->listener, &c), 1);
	while ((n = weir_conn_read(ctx, c, buf, sizeof buf)) > 0) {
		p->heard += (uint64_t)n;
		if (said || p->heard < ASKED)
			continue;
		said = true;
		if (weir_conn_write(ctx, c, p->out, p->n) < 0)
			break;
	}
	weir_conn_free(c);
	return 0;
}

static struct peer *peer_new(void)
{
	struct peer *p = calloc(1, sizeof *p);

	CHECK(p != NULL);
	add(p, SETTINGS, 0, 0, "", 0);
	return p;
}

/* What comes of a request to it. */
static int peer_ask(const weir_ctx *ctx, struct peer *p)
{
	weir_ctx soon = weir_ctx_timeout(ctx, WEIR_SEC(100));
	weir_http_client *c;
	weir_http_res res;
	char buf[1000];
	int r;

	CHECK_EQ(weir_listen("mem:peer", &p->listener), 0);
	weir_group_init(&p->group, ctx);
	CHECK_EQ(weir_group_go(&p->group, peer_serve, p), 0);
	CHECK_EQ(weir_http_client_new("http2://mem:peer", &c), 0);
	r = weir_http_client_do(&soon, c, &(weir_http_req){ .method = "GET", .target = "/" }, &res);
	while (r == 0) {
		ssize_t n = weir_http_client_read(&soon, c, buf, sizeof buf);

		if (n <= 0) {
			r = n < 0 ? (int)n : res.status;
			break;
		}
	}
	weir_http_client_free(c);
	CHECK_EQ(weir_group_wait(&p->group), 0);
	weir_listener_free(p->listener);
	free(p);
	return r;
}

/* A field of 4000 bytes that goes into the table, and then its name so often. */
static size_t unfolding(char *to, unsigned times)
{
	size_t n = 0;

	memcpy(to, "\x88\x40\1x\x7f\xa1\x1e", 7);
	n += 7;
	memset(to + n, 'y', 4000);
	n += 4000;
	memset(to + n, 0xbe, times);
	return n + times;
}

SIM(a_head_within_the_bounds_is_taken, SEEDS)
{
	struct peer *p = peer_new();
	char block[16384];

	add(p, HEADERS, END_STREAM | END_HEADERS, 1, block, unfolding(block, 14));
	CHECK_EQ(peer_ask(ctx, p), 200);
}

SIM(a_head_that_unfolds_to_megabytes_is_an_error, SEEDS)
{
	struct peer *p = peer_new();
	char block[16384];

	add(p, HEADERS, END_STREAM | END_HEADERS, 1, block, unfolding(block, 12000));
	CHECK_EQ(peer_ask(ctx, p), -EBADMSG);
}

SIM(interim_answers_without_end_are_an_error, SEEDS)
{
	struct peer *p = peer_new();
	/* :status 103, and a field of 1000 bytes. */
	char block[1100] = "\x08\3"
			   "103"
			   "\0\1x\x7f\xe9\6";

	memset(block + 11, 'y', 1000);
	for (int i = 0; i < 500; i++)
		add(p, HEADERS, END_HEADERS, 1, block, 11 + 1000);
	add(p, HEADERS, END_HEADERS | END_STREAM, 1, "\x88", 1);
	CHECK_EQ(peer_ask(ctx, p), -EBADMSG);
}

SIM(trailers_without_end_are_an_error, SEEDS)
{
	struct peer *p = peer_new();
	char block[16384];

	add(p, HEADERS, END_HEADERS, 1, "\x88", 1);
	/* Without the status of a head. */
	add(p, HEADERS, END_STREAM | END_HEADERS, 1, block + 1, unfolding(block, 12000) - 1);
	CHECK_EQ(peer_ask(ctx, p), -EBADMSG);
}

SIM(a_head_in_frames_without_end_loses_the_connection, SEEDS)
{
	struct peer *p = peer_new();

	add(p, HEADERS, 0, 1, "\x88", 1);
	for (int i = 0; i < 20000; i++)
		add(p, CONTINUATION, 0, 1, "\0\1x\1y", 5);
	CHECK(peer_ask(ctx, p) < 0);
}

SIM(a_flood_of_pings_loses_the_connection, SEEDS)
{
	struct peer *p = peer_new();

	for (int i = 0; i < 30000; i++)
		add(p, PING, 0, 0, "weir hi?", 8);
	add(p, HEADERS, END_HEADERS | END_STREAM, 1, "\x88", 1);
	CHECK(peer_ask(ctx, p) < 0);
}
