/* SPDX-License-Identifier: MIT */
/* A job as a message of NATS, and back. Texts are in quotation marks there, since spaces at the
 * ends of a header's value do not survive. */
#include "queue/jetstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every put has some: printf() would be a good part of what Weir adds to one. */
static void line(struct weir__buf *b, const char *name, const char *quote, const char *value)
{
	weir__buf_str(b, name);
	weir__buf_str(b, ": ");
	weir__buf_str(b, quote);
	weir__buf_str(b, value);
	weir__buf_str(b, quote);
	weir__buf_str(b, "\r\n");
}

static void text(struct weir__buf *b, const char *name, const char *value)
{
	if (value)
		line(b, name, "\"", value);
}

static void number(struct weir__buf *b, const char *name, int64_t n)
{
	if (!n)
		return;
	weir__buf_str(b, name);
	weir__buf_str(b, n < 0 ? ": -" : ": ");
	weir__buf_u64(b, n < 0 ? -(uint64_t)n : (uint64_t)n);
	weir__buf_str(b, "\r\n");
}

void weir__js_headers(struct weir__buf *b, const struct weir__remote_job *job, const char *again,
                      const char *why)
{
	if (again)
		weir__buf_printf(b, "Nats-Msg-Id: %s.%s\r\nWeir-Id: %s\r\n", job->id, again,
		                 job->id);
	else
		line(b, "Nats-Msg-Id", "", job->id);
	text(b, "Weir-Type", job->content_type);
	text(b, "Weir-Key", job->key);
	number(b, "Weir-Timeout", job->timeout_ns);
	number(b, "Weir-Attempts", job->attempts_max);
	number(b, "Weir-Created", job->created_at);
	text(b, "Weir-Why", why);
}

const char *weir__js_header(const weir_msg *m, const char *name, char *buf, size_t n)
{
	size_t len = strlen(name), value;

	*buf = 0;
	for (const char *at = m->headers; at && *at;) {
		const char *end = strstr(at, "\r\n");
		size_t line = end ? (size_t)(end - at) : strlen(at);

		if (line > len && !strncasecmp(at, name, len) && at[len] == ':') {
			at += len + 1;
			line -= len + 1;
			while (line && *at == ' ') {
				at++;
				line--;
			}
			if (line >= 2 && *at == '"') {
				at++;
				line -= 2;
			}
			value = line < n - 1 ? line : n - 1;
			memcpy(buf, at, value);
			buf[value] = 0;
			return buf;
		}
		at = end ? end + 2 : NULL;
	}
	return buf;
}

static int64_t header_number(const weir_msg *m, const char *name)
{
	char buf[32];

	return strtoll(weir__js_header(m, name, buf, sizeof buf), NULL, 10);
}

/* $JS.ACK.stream.consumer.delivered.sequence.… or $JS.ACK.domain.account.stream.… */
static uint64_t token_number(const char *reply, unsigned behind)
{
	unsigned dots = 0, at;

	for (const char *c = reply; *c; c++)
		dots += *c == '.';
	at = (dots >= 10 ? 6 : 4) + behind;
	for (; at && *reply; reply++)
		at -= *reply == '.';
	return strtoull(reply, NULL, 10);
}

static unsigned attempt_of(const char *reply)
{
	return (unsigned)token_number(reply, 0);
}

uint64_t weir__js_sequence(const char *token)
{
	return token_number(token, 1);
}

struct weir__delivery *weir__js_read(const weir_msg *m, const char *id, unsigned attempt,
                                     const char *token, int64_t until_ns)
{
	char own[256], type[128], key[300];
	struct weir__remote_job job = {
		.id = weir__js_header(m, "Weir-Id", own, sizeof own),
		.content_type = weir__js_header(m, "Weir-Type", type, sizeof type),
		.key = weir__js_header(m, "Weir-Key", key, sizeof key),
		.data = m->data,
		.len = m->len,
		.timeout_ns = header_number(m, "Weir-Timeout"),
		.attempts_max = (unsigned)header_number(m, "Weir-Attempts"),
		.created_at = header_number(m, "Weir-Created"),
	};

	if (!*own)
		weir__js_header(m, "Nats-Msg-Id", own, sizeof own);
	if (!*own)
		job.id = id;
	job.content_type = *type ? type : NULL;
	job.key = *key ? key : NULL;
	return weir__delivery_new(&job, attempt, token, until_ns);
}

struct weir__delivery *weir__js_delivery(const weir_msg *m, int64_t until_ns)
{
	char id[32];

	if (!m->reply || strncmp(m->reply, "$JS.ACK.", 8))
		return NULL;
	/* Somebody else's may have no id: its place in the stream is its own. */
	snprintf(id, sizeof id, "#%llu", (unsigned long long)weir__js_sequence(m->reply));
	return weir__js_read(m, id, attempt_of(m->reply), m->reply, until_ns);
}

int64_t weir__js_number(const weir_msg *m, const char *name)
{
	char quoted[40];
	const char *at;

	snprintf(quoted, sizeof quoted, "\"%s\":", name);
	at = m->len ? strstr(m->data, quoted) : NULL;
	return at ? strtoll(at + strlen(quoted), NULL, 10) : -1;
}
