/* SPDX-License-Identifier: MIT */
/* Messages between Weir's form and that of nats.c. Of headers the names and the order of equal
 * names stay; the order of different names is nats.c's. */
#include "bus/cluster.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

/* One "Name: value" line of n bytes. nats.c copies what it is given. */
static natsStatus add_header(natsMsg *to, const char *line, size_t n)
{
	char few[256], *name = n < sizeof few ? memcpy(few, line, n) : malloc(n + 1), *value;
	natsStatus st = NATS_OK;

	if (!name)
		return NATS_NO_MEMORY;
	if (name != few)
		memcpy(name, line, n);
	name[n] = 0;
	value = strchr(name, ':');
	if (value) {
		*value++ = 0;
		value += strspn(value, " \t");
		st = natsMsgHeader_Add(to, name, value);
	}
	if (name != few)
		free(name);
	return st;
}

natsMsg *weir__cluster_msg_out(const struct weir__bus_msg *m)
{
	natsMsg *to = NULL;
	natsStatus st = natsMsg_Create(&to, m->subject, m->reply, m->data, (int)m->len);

	for (const char *line = m->headers; st == NATS_OK && line && *line;) {
		const char *end = strstr(line, "\r\n");
		size_t n = end ? (size_t)(end - line) : strlen(line);

		st = add_header(to, line, n);
		line = end ? end + 2 : NULL;
	}
	if (st == NATS_OK)
		return to;
	natsMsg_Destroy(to);
	return NULL;
}

static void read_headers(natsMsg *m, struct weir__buf *b)
{
	const char **keys = NULL, **values;
	int n = 0, k;

	if (natsMsgHeader_Keys(m, &keys, &n) != NATS_OK)
		return;
	for (int i = 0; i < n; i++) {
		values = NULL;
		if (natsMsgHeader_Values(m, keys[i], &values, &k) == NATS_OK)
			for (int j = 0; j < k; j++)
				weir__buf_printf(b, "%s: %s\r\n", keys[i], values[j]);
		free(values);
	}
	free(keys);
}

struct weir__bus_msg *weir__cluster_msg_in(natsMsg *m)
{
	struct weir__buf headers = WEIR__BUF_INIT;
	struct weir__bus_msg *e = NULL;
	weir_msg view = { .subject = natsMsg_GetSubject(m),
		          .reply = natsMsg_GetReply(m),
		          .data = natsMsg_GetData(m),
		          .len = (size_t)natsMsg_GetDataLength(m) };

	read_headers(m, &headers);
	if (headers.len)
		view.headers = headers.data;
	if (!headers.failed)
		e = weir__bus_msg_new(&view);
	weir__buf_free(&headers);
	return e;
}

/* Takes what is kept, with the lock, which it releases, and destroys it. */
static void forget_spent(struct weir__cluster *k)
{
	natsMsg *spent[WEIR__SPENT];
	size_t n = k->n_spent;

	memcpy(spent, k->spent, n * sizeof spent[0]);
	k->n_spent = k->spent_bytes = 0;
	weir__lock_release(&k->spent_lock);
	while (n)
		natsMsg_Destroy(spent[--n]);
}

void weir__cluster_forget_spent(struct weir__cluster *k)
{
	weir__lock_acquire(&k->spent_lock);
	forget_spent(k);
}

void weir__cluster_spend(struct weir__cluster *k, natsMsg *m)
{
	enum { BYTES = 64 << 10 };

	weir__lock_acquire(&k->spent_lock);
	k->spent[k->n_spent++] = m;
	k->spent_bytes += (size_t)natsMsg_GetDataLength(m);
	if (k->n_spent == WEIR__SPENT || k->spent_bytes > BYTES)
		forget_spent(k);
	else
		weir__lock_release(&k->spent_lock);
}
