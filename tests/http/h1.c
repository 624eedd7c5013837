/* SPDX-License-Identifier: MIT */
/*
 * The strict parser beside llhttp. Ours may refuse what llhttp takes; what it takes, llhttp must
 * take too, and both must see the same method, target, fields and body, and the same end: else two
 * programs in a row would disagree about where a request ends.
 */
#include "http/h1.h"

#include <llhttp.h>

#include "test.h"

enum { FIELDS = 100, MAX = 32768 };

/* One request as one side sees it, written out plainly. */
struct seen {
	char text[65536];
	size_t len, taken; /* taken: bytes of the request */
	bool done;
};

static void note(struct seen *s, const char *p, size_t n)
{
	CHECK(s->len + n < sizeof s->text);
	memcpy(s->text + s->len, p, n);
	s->len += n;
}

static bool newer; /* the version is not 1.0 or 1.1 to the letter */

static bool ours(struct seen *s, const char *request, size_t n, size_t step)
{
	static char buf[65536], out[65536];
	struct weir__h1_field fields[FIELDS];
	struct weir__h1_head h = { .max = MAX, .fields_max = FIELDS, .fields = fields };
	struct weir__h1_chunks k = { 0 };
	ssize_t r = 0;
	size_t have = 0;

	s->len = s->taken = 0;
	s->done = newer = false;
	weir__h1_reset(&h);
	while (r == 0 && have < n) {
		size_t more = step < n - have ? step : n - have;

		memcpy(buf + have, request + have, more);
		have += more;
		r = weir__h1_head(&h, buf, have);
	}
	if (r <= 0)
		return false;
	newer = h.target[h.target_len + 8] > '1';
	note(s, h.method, h.method_len);
	note(s, " ", 1);
	note(s, h.target, h.target_len);
	for (unsigned i = 0; i < h.count; i++) {
		note(s, "\n", 1);
		note(s, fields[i].name, fields[i].name_len);
		note(s, ":", 1);
		note(s, fields[i].value, fields[i].value_len);
	}
	note(s, "\n\n", 2);
	s->taken = (size_t)r;
	if (h.chunked) {
		while (!k.done && s->taken < n) {
			size_t used, piece = step < n - s->taken ? step : n - s->taken;

			r = weir__h1_unchunk(&k, request + s->taken, piece, &used, out, sizeof out);
			if (r < 0)
				return false;
			note(s, out, (size_t)r);
			s->taken += used;
		}
		s->done = k.done;
	} else {
		size_t body = h.sized && h.length < n - s->taken ? (size_t)h.length :
		              h.sized                            ? n - s->taken :
		                                                   0;

		note(s, request + s->taken, body);
		s->taken += body;
		s->done = !h.sized || body == h.length;
	}
	return true;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	struct seen *s = p->data;

	if (s->len == 0) {
		const char *m = llhttp_method_name(p->method);

		note(s, m, strlen(m));
		note(s, " ", 1);
	}
	note(s, at, n);
	return 0;
}

static bool in_trailer;
static char last_name[65536];
static size_t name_len, value_from;

static int on_field(llhttp_t *p, const char *at, size_t n)
{
	struct seen *s = p->data;

	if (in_trailer)
		return 0;
	if (name_len == 0)
		note(s, "\n", 1);
	note(s, at, n);
	memcpy(last_name + name_len, at, n);
	name_len += n;
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
	struct seen *s = p->data;

	if (in_trailer)
		return 0;
	if (name_len) {
		note(s, ":", 1);
		value_from = s->len;
	}
	name_len = 0;
	note(s, at, n);
	return 0;
}

/* llhttp leaves the white space behind a value where it is. */
static int on_value_end(llhttp_t *p)
{
	struct seen *s = p->data;

	while (!in_trailer && s->len > value_from &&
	       (s->text[s->len - 1] == ' ' || s->text[s->len - 1] == '\t'))
		s->len--;
	return 0;
}

static int on_head(llhttp_t *p)
{
	note(p->data, "\n\n", 2);
	in_trailer = true;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	note(p->data, at, n);
	return 0;
}

static int on_done(llhttp_t *p)
{
	((struct seen *)p->data)->done = true;
	return HPE_PAUSED;
}

static bool theirs(struct seen *s, const char *request, size_t n)
{
	llhttp_settings_t set;
	llhttp_errno_t err;
	llhttp_t p;

	llhttp_settings_init(&set);
	set.on_url = on_url;
	set.on_header_field = on_field;
	set.on_header_value = on_value;
	set.on_header_value_complete = on_value_end;
	set.on_headers_complete = on_head;
	set.on_body = on_body;
	set.on_message_complete = on_done;
	llhttp_init(&p, HTTP_REQUEST, &set);
	p.data = s;
	s->len = s->taken = 0;
	s->done = in_trailer = false;
	name_len = 0;
	err = llhttp_execute(&p, request, n);
	s->taken = err ? (size_t)(llhttp_get_error_pos(&p) - request) : n;
	return err == HPE_OK || err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE;
}

static const char *const samples[] = {
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"\r\nGET /a?b=c HTTP/1.1\r\nHost:  x:80 \t\r\nA:\r\nB: c d\t\r\n\r\n",
	"POST /q HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: "
	"x\r\n\r\n",
	"POST /q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
	"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
	"PUT /q HTTP/1.1\r\nHost: x\r\ntransfer-encoding: "
	"Chunked\r\n\r\n5;a=b\r\nhello\r\n0001\r\n!\r\n0\r\nA: b\r\n\r\n",
	"DELETE /x HTTP/1.0\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n",
	"HEAD http://x/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
};

static uint64_t rng = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 32) % n;
}

static size_t mutate(char *out, size_t cap)
{
	static const char bytes[] = "\r\n\0 \t:;,/?%*0159afAF-+.xGPH\x7f\xff";
	const char *from = samples[random_below(sizeof samples / sizeof samples[0])];
	size_t n = strlen(from);

	memcpy(out, from, n);
	for (uint32_t edits = random_below(5); edits; edits--) {
		size_t at = random_below((uint32_t)n),
		       cut = random_below(4) == 0 ? random_below(8) : 0;

		cut = cut < n - at ? cut : n - at;
		if (random_below(3) == 0 && n < cap - 16) { /* Insert. */
			memmove(out + at + 1, out + at, n - at);
			n++;
		} else {
			memmove(out + at, out + at + cut, n - at - cut);
			n -= cut;
		}
		if (at < n)
			out[at] = bytes[random_below(sizeof bytes - 1)];
	}
	return n;
}

TEST(what_we_take_llhttp_takes_and_sees_the_same)
{
	static struct seen a, b;
	char request[4096];
	unsigned taken = 0, rounds = test_long ? 3000000 : 300000;

	for (unsigned i = 0; i < rounds; i++) {
		size_t n = i < sizeof samples / sizeof samples[0] ? strlen(samples[i]) :
		                                                    mutate(request, sizeof request);
		const char *text = i < sizeof samples / sizeof samples[0] ? samples[i] : request;

		if (!ours(&a, text, n, 1 + random_below(64)))
			continue;
		if (!theirs(&b, text, n)) {
			/* llhttp knows a list of methods and we know tokens (the router refuses the
			 * rest); and it refuses HTTP/1.2 and above, which RFC 9110 §6.2 wants
			 * served as 1.1. */
			if (b.len == 0 || newer)
				continue;
			test_fail(__FILE__, __LINE__, "llhttp refuses %.*s", (int)n, text);
		}
		taken++;
		if (a.len != b.len || memcmp(a.text, b.text, a.len) != 0)
			test_fail(__FILE__, __LINE__, "we see\n%.*s\nllhttp sees\n%.*s\nof\n%.*s",
			          (int)a.len, a.text, (int)b.len, b.text, (int)n, text);
		CHECK_EQ(a.done, b.done);
		if (a.done)
			CHECK_EQ(a.taken, b.taken);
	}
	CHECK(taken > rounds / 20);
}

TEST(how_the_bytes_arrive_changes_nothing)
{
	static struct seen a, b;
	char request[4096];

	for (unsigned i = 0; i < 50000; i++) {
		size_t n = mutate(request, sizeof request);
		bool whole = ours(&a, request, n, n), bytewise = ours(&b, request, n, 1);

		CHECK_EQ(whole, bytewise);
		if (!whole)
			continue;
		CHECK_EQ(a.taken, b.taken);
		CHECK_EQ(a.done, b.done);
		CHECK(a.len == b.len && memcmp(a.text, b.text, a.len) == 0);
	}
}

TEST(a_value_has_no_control_byte_but_tabs_wherever_it_stands)
{
	enum { LEN = 18 }; /* two words and what is left over */

	for (unsigned c = 0; c < 256; c++) {
		for (int at = 0; at < LEN; at++) {
			char text[LEN];

			memset(text, 'a', LEN);
			text[at] = (char)c;
			CHECK_EQ(weir__h1_is_value(text, LEN),
			         c == '\t' || (c >= 0x20 && c != 0x7f));
		}
	}
}
