/* SPDX-License-Identifier: MIT */
/* A job as a message of AMQP, and back. Its id is the message's; what AMQP has no word for is in
 * headers that begin with "weir-". */
#include "queue/rabbit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void number(amqp_table_t *t, const char *name, int64_t n)
{
	if (!n)
		return;
	t->entries[t->num_entries++] =
		(amqp_table_entry_t){ .key = amqp_cstring_bytes(name),
		                      .value = { .kind = AMQP_FIELD_KIND_I64, .value.i64 = n } };
}

void weir__rmq_props(const struct weir__remote_job *job, unsigned attempts, int64_t ttl_ms,
                     amqp_basic_properties_t *props, amqp_table_entry_t headers[], char ttl[24])
{
	*props = (amqp_basic_properties_t){
		._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
		          AMQP_BASIC_HEADERS_FLAG,
		.delivery_mode = AMQP_DELIVERY_PERSISTENT,
		.message_id = amqp_cstring_bytes(job->id),
		.headers.entries = headers,
	};
	if (job->content_type) {
		props->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
		props->content_type = amqp_cstring_bytes(job->content_type);
	}
	if (job->key)
		headers[props->headers.num_entries++] =
			(amqp_table_entry_t){ .key = amqp_cstring_bytes("weir-key"),
			                      .value = { .kind = AMQP_FIELD_KIND_UTF8,
			                                 .value.bytes =
			                                         amqp_cstring_bytes(job->key) } };
	number(&props->headers, "weir-timeout", job->timeout_ns);
	number(&props->headers, "weir-attempts-max", job->attempts_max);
	number(&props->headers, "weir-created", job->created_at);
	number(&props->headers, "weir-attempts", attempts);
	if (ttl_ms) {
		snprintf(ttl, 24, "%lld", (long long)ttl_ms);
		props->_flags |= AMQP_BASIC_EXPIRATION_FLAG;
		props->expiration = amqp_cstring_bytes(ttl);
	}
}

static const amqp_field_value_t *header(const amqp_basic_properties_t *p, const char *name)
{
	size_t n = strlen(name);

	if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
		return NULL;
	for (int i = 0; i < p->headers.num_entries; i++) {
		const amqp_table_entry_t *e = &p->headers.entries[i];

		if (e->key.len == n && !memcmp(e->key.bytes, name, n))
			return &e->value;
	}
	return NULL;
}

static int64_t header_number(const amqp_basic_properties_t *p, const char *name)
{
	const amqp_field_value_t *v = header(p, name);

	switch (v ? v->kind : 0) {
	case AMQP_FIELD_KIND_I64:
		return v->value.i64;
	case AMQP_FIELD_KIND_I32:
		return v->value.i32;
	case AMQP_FIELD_KIND_I16:
		return v->value.i16;
	case AMQP_FIELD_KIND_I8:
		return v->value.i8;
	default:
		return 0;
	}
}

static const char *text(amqp_bytes_t from, char *buf, size_t n)
{
	if (from.len >= n)
		return NULL;
	memcpy(buf, from.bytes, from.len);
	buf[from.len] = 0;
	return buf;
}

struct weir__delivery *weir__rmq_delivery(const amqp_basic_properties_t *props, const void *body,
                                          size_t len, const char *token, int64_t until_ns)
{
	const amqp_field_value_t *k = header(props, "weir-key");
	char id[256], type[256], key[300];
	struct weir__remote_job job = {
		.data = body,
		.len = len,
		.timeout_ns = header_number(props, "weir-timeout"),
		.attempts_max = (unsigned)header_number(props, "weir-attempts-max"),
		.created_at = header_number(props, "weir-created"),
	};
	int64_t attempts =
		header_number(props, "weir-attempts") + header_number(props, "x-delivery-count");

	/* Somebody else's message may have none; then this delivery's own will do. */
	if (props->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
		job.id = text(props->message_id, id, sizeof id);
	if (!job.id || !*job.id)
		job.id = token;
	if (props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
		job.content_type = text(props->content_type, type, sizeof type);
	if (k && k->kind == AMQP_FIELD_KIND_UTF8)
		job.key = text(k->value.bytes, key, sizeof key);
	return weir__delivery_new(&job, (unsigned)attempts + 1, token, until_ns);
}
