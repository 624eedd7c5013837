/* SPDX-License-Identifier: MIT */
/*
 * A job as a message of SQS, and back. The payload is the body as it is, when SQS takes it: text in
 * UTF-8 of the characters that XML 1.0 allows, and not empty. Other bytes go as base64, which the
 * attribute Weir-Encoding says. What else a job has is in attributes of the message, eight at most
 * of the ten that SQS carries:
 *
 *	Weir-Id  Weir-Type  Weir-Key  Weir-Timeout  Weir-Attempts  Weir-Created  Weir-Encoding
 *	Weir-Why (of a dead one)
 *
 * A message without Weir-Id was put by somebody else and is a job as well: its id is made of the
 * message's own, a UUID, whose 128 bits are the 26 characters that ids of Weir have.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/time.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "queue/sqs.h"

/* ---- Out ---- */

/* UTF-8 of #x9, #xA, #xD, #x20–#xD7FF, #xE000–#xFFFD, #x10000–#x10FFFF. */
static bool is_text(const void *data, size_t n)
{
	const unsigned char *p = data;

	if (!n || !weir__utf8_valid(data, n))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] >= 0x20 && p[i] < 0xef)
			continue;
		if (p[i] < 0x20 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r')
			return false;
		if (p[i] == 0xef && n - i >= 3 && p[i + 1] == 0xbf && p[i + 2] >= 0xbe)
			return false; /* U+FFFE, U+FFFF */
	}
	return true;
}

/* One attribute, and what it counts for. */
static void text(struct weir__sqs_entry *e, const char *name, const char *value)
{
	struct weir__buf *b = &e->json;

	if (!value || !*value)
		return;
	weir__buf_str(b, b->data[b->len - 1] == '{' ? "\"" : ",\"");
	weir__buf_str(b, name);
	weir__buf_str(b, "\":{\"DataType\":\"String\",\"StringValue\":");
	weir__buf_json(b, value, strlen(value));
	weir__buf_byte(b, '}');
	e->size += strlen(name) + sizeof "String" - 1 + strlen(value);
}

static void number(struct weir__sqs_entry *e, const char *name, int64_t n)
{
	char value[24];

	if (!n)
		return;
	snprintf(value, sizeof value, "%lld", (long long)n);
	text(e, name, value);
}

/* The body. What its encoding is called; NULL: none. */
static const char *body(const struct weir__remote_job *job, struct weir__sqs_entry *e)
{
	struct weir__buf coded = WEIR__BUF_INIT;

	weir__buf_str(&e->json, ",\"MessageBody\":");
	if (is_text(job->data, job->len)) {
		weir__buf_json(&e->json, job->data, job->len);
		e->size = job->len;
		return NULL;
	}
	if (!job->len) { /* It has to have a character. */
		weir__buf_str(&e->json, "\"-\"");
		e->size = 1;
		return "empty";
	}
	weir__base64_encode(&coded, job->data, job->len);
	weir__buf_printf(&e->json, "\"%s\"", coded.failed ? "" : coded.data);
	e->json.failed = e->json.failed || coded.failed;
	e->size = coded.len;
	weir__buf_free(&coded);
	return "base64";
}

int weir__sqs_entry_of(const struct weir__remote_job *job, const char *why,
                       struct weir__sqs_entry *e)
{
	int64_t delay = (job->delay_ns + WEIR_SEC(1) - 1) / WEIR_SEC(1);
	const char *encoding;
	int r = 0;

	*e = (struct weir__sqs_entry){ .json = WEIR__BUF_INIT };
	if (delay > WEIR__SQS_DELAY && !why)
		return -EOPNOTSUPP;
	if (job->len > WEIR__SQS_MESSAGE)
		return -EMSGSIZE;
	(void)weir__buf_reserve(&e->json, job->len + 300); /* Enough for most, at once. */
	encoding = body(job, e);
	if (delay > 0 && !why)
		weir__buf_printf(&e->json, ",\"DelaySeconds\":%lld", (long long)delay);
	weir__buf_str(&e->json, ",\"MessageAttributes\":{");
	if (!e->json.failed) {
		text(e, "Weir-Id", job->id);
		text(e, "Weir-Type", job->content_type);
		text(e, "Weir-Key", job->key);
		number(e, "Weir-Timeout", job->timeout_ns);
		number(e, "Weir-Attempts", job->attempts_max);
		number(e, "Weir-Created", job->created_at);
		text(e, "Weir-Encoding", encoding);
		text(e, "Weir-Why", why);
	}
	weir__buf_byte(&e->json, '}');
	r = e->json.failed ? -ENOMEM : e->size > WEIR__SQS_MESSAGE ? -EMSGSIZE : 0;
	if (r < 0)
		weir__buf_free(&e->json);
	return r;
}

/* ---- In ---- */

struct message {
	const char *id, *handle, *body, *count, *sent;
	const char *job_id, *type, *key, *timeout, *attempts, *created, *encoding;
};

/* An answer, as it is read. */
struct reading {
	struct message m;
	enum { NOTHING, SYSTEM, OURS } inside; /* which attributes */
	const char *attribute;
	int64_t until_ns;
	struct weir__delivery **to;
	size_t n, max;
};

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 128 bits as 26 characters of five bits, as ids are written. */
static bool id_of(const char *uuid, char id[27])
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	unsigned bits = 0, have = 2, n = 0; /* Two zero bits before, since 26 × 5 is 130. */

	for (; *uuid && n < 26; uuid++) {
		int v = hex(*uuid);

		if (*uuid == '-')
			continue;
		if (v < 0)
			return false;
		bits = bits << 4 | (unsigned)v;
		have += 4;
		while (have >= 5 && n < 26) {
			have -= 5;
			id[n++] = alphabet[bits >> have & 31];
		}
	}
	id[n] = 0;
	return n == 26 && !*uuid;
}

static int64_t number_of(const char *text)
{
	return text ? strtoll(text, NULL, 10) : 0;
}

/* The message is whole. */
static void deliver(struct reading *r)
{
	const struct message *m = &r->m;
	struct weir__buf bytes = WEIR__BUF_INIT;
	struct weir__remote_job job = { .id = m->job_id,
		                        .content_type = m->type,
		                        .key = m->key,
		                        .data = m->body,
		                        .len = m->body ? strlen(m->body) : 0,
		                        .timeout_ns = number_of(m->timeout),
		                        .attempts_max = (unsigned)number_of(m->attempts),
		                        .created_at = number_of(m->created) };
	unsigned attempt = (unsigned)number_of(m->count);
	char id[27];

	if (!m->handle || !m->body || !m->id)
		return;
	if (!job.id || !*job.id)
		job.id = id_of(m->id, id) ? id : m->id;
	if (!job.created_at)
		job.created_at = WEIR_MS(number_of(m->sent));
	if (m->encoding && !strcmp(m->encoding, "empty")) {
		job.len = 0;
	} else if (m->encoding && !strcmp(m->encoding, "base64")) {
		if (weir__base64_decode(&bytes, m->body, job.len) == 0) {
			job.data = bytes.data;
			job.len = bytes.len;
		} else {
			weir__log_rare(WEIR__WARN, "queue",
			               "SQS: message %s says that it is base64, and is not", m->id);
		}
	}
	if (r->n < r->max) {
		r->to[r->n] =
			weir__delivery_new(&job, attempt ? attempt : 1, m->handle, r->until_ns);
		r->n += r->to[r->n] != NULL;
	}
	weir__buf_free(&bytes);
}

struct name {
	const char *name;
	size_t at;
};

static void set(struct message *m, const struct name *names, size_t n, const char *name,
                const char *value)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i].name, name))
			*(const char **)(void *)((char *)m + names[i].at) = value;
}

#define AT(member)             offsetof(struct message, member)
#define SET(m, names, name, v) set(m, names, sizeof names / sizeof *names, name, v)

static void member(const struct weir__json_member *m, void *arg)
{
	static const struct name plain[] = { { "MessageId", AT(id) },
		                             { "ReceiptHandle", AT(handle) },
		                             { "Body", AT(body) } };
	static const struct name system[] = { { "ApproximateReceiveCount", AT(count) },
		                              { "SentTimestamp", AT(sent) } };
	static const struct name ours[] = {
		{ "Weir-Id", AT(job_id) },         { "Weir-Type", AT(type) },
		{ "Weir-Key", AT(key) },           { "Weir-Timeout", AT(timeout) },
		{ "Weir-Attempts", AT(attempts) }, { "Weir-Created", AT(created) },
		{ "Weir-Encoding", AT(encoding) }
	};
	struct reading *r = arg;

	if (m->depth == 2 && m->kind == WEIR__JSON_OTHER) {
		r->m = (struct message){ 0 };
	} else if (m->depth == 2 && m->kind == WEIR__JSON_END) {
		deliver(r);
	} else if (m->depth == 3 && m->kind == WEIR__JSON_OTHER && m->key) {
		r->inside = !strcmp(m->key, "Attributes")        ? SYSTEM :
		            !strcmp(m->key, "MessageAttributes") ? OURS :
		                                                   NOTHING;
	} else if (m->depth == 4 && r->inside == OURS && m->kind == WEIR__JSON_OTHER) {
		r->attribute = m->key;
	} else if (m->kind == WEIR__JSON_TEXT && m->key) {
		if (m->depth == 3)
			SET(&r->m, plain, m->key, m->text);
		else if (m->depth == 4 && r->inside == SYSTEM)
			SET(&r->m, system, m->key, m->text);
		else if (m->depth == 5 && r->inside == OURS && r->attribute &&
		         !strcmp(m->key, "StringValue"))
			SET(&r->m, ours, r->attribute, m->text);
	}
}

size_t weir__sqs_deliveries(struct weir__buf *answer, int64_t until_ns, struct weir__delivery **ret,
                            size_t max)
{
	struct reading r = { .until_ns = until_ns, .to = ret, .max = max };

	if (answer->len && weir__json_walk(answer->data, answer->len, member, &r) < 0)
		weir__log_rare(WEIR__WARN, "queue", "SQS: ReceiveMessage is answered by no JSON");
	return r.n;
}
