/* SPDX-License-Identifier: MIT */
/* A message is one piece of memory: the struct, then subject, reply address, headers and
 * payload, each closed by a NUL. */
#include "bus/bus.h"

#include <stdlib.h>
#include <string.h>

static char *put(char **at, const void *p, size_t n)
{
	char *start = *at;

	if (n)
		memcpy(start, p, n);
	start[n] = 0;
	*at += n + 1;
	return start;
}

struct weir__bus_msg *weir__bus_msg_new(const weir_msg *m)
{
	size_t subject = strlen(m->subject), reply = m->reply ? strlen(m->reply) : 0;
	size_t headers = m->headers ? strlen(m->headers) : 0;
	size_t size = sizeof(struct weir__bus_msg) + subject + reply + headers + m->len + 4;
	struct weir__bus_msg *e = malloc(size);
	char *at;

	if (!e)
		return NULL;
	at = e->subject;
	e->refs = 1;
	e->no_responders = false;
	e->cost = size;
	e->len = m->len;
	put(&at, m->subject, subject);
	e->reply = m->reply ? put(&at, m->reply, reply) : NULL;
	e->headers = m->headers ? put(&at, m->headers, headers) : NULL;
	e->data = put(&at, m->data, m->len);
	return e;
}

void weir__bus_msg_ref(struct weir__bus_msg *m)
{
	__atomic_fetch_add(&m->refs, 1, __ATOMIC_RELAXED);
}

void weir__bus_msg_unref(struct weir__bus_msg *m)
{
	if (m && __atomic_fetch_sub(&m->refs, 1, __ATOMIC_ACQ_REL) == 1)
		free(m);
}
