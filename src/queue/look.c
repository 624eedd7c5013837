/* SPDX-License-Identifier: MIT */
/* Looking at jobs: snapshots made under the lock, a list of them a bounded number at a time;
 * payloads and results are copied outside of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"

/* ---- Results ---- */

int weir__result_new(const void *data, size_t len, struct weir__result **ret)
{
	struct weir__result *r;

	*ret = NULL;
	if (len > WEIR__RESULT_MAX)
		return -EMSGSIZE;
	if (!len)
		return 0;
	r = malloc(sizeof *r + len);
	if (!r)
		return -ENOMEM;
	r->refs = 1;
	r->len = len;
	memcpy(r->data, data, len);
	*ret = r;
	return 0;
}

void weir__result_unref(struct weir__result *r)
{
	if (r && __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(r);
}

/* ---- One job ---- */

/* NUL-terminated, so that a text can be used as it is. */
static void *copy(const void *data, size_t len)
{
	char *p = malloc(len + 1);

	if (!p)
		return NULL;
	memcpy(p, data, len);
	p[len] = 0;
	return p;
}

/* Payload and result are copied when the lock is left: the record is held meanwhile, its payload
 * never changes, and a result is given up by letting go of it. */
static int copy_payload(weir_store *s, struct weir__record *j, struct weir__result *result,
                        weir_job_info *ret)
{
	ret->data = copy(j->data, j->len);
	ret->result = result ? copy(result->data, result->len) : NULL;
	weir__store_enter(s);
	weir__job_unref(s, j);
	weir__store_leave(s);
	weir__result_unref(result);
	if (ret->data && (ret->result || !ret->result_len))
		return 0;
	weir_job_info_free(ret);
	return -ENOMEM;
}

int weir_job_get(const weir_ctx *ctx, weir_store *s, const char *id, bool payload,
                 weir_job_info *ret)
{
	struct weir__result *result = NULL;
	struct weir__record *j;
	int r;

	weir__magic_check(s, weir__store_magic);
	r = ctx ? weir__cold_thaw(ctx, s, id) : 0;
	if (r < 0)
		return r;
	weir__store_enter(s);
	j = weir__job_find(s, id);
	if (j) {
		weir__job_snapshot(j, ret);
		if (payload) {
			j->refs++;
			result = j->result;
			if (result)
				__atomic_add_fetch(&result->refs, 1, __ATOMIC_RELAXED);
		}
	}
	weir__store_leave(s);
	if (!j)
		return s->far ? -EOPNOTSUPP : -ENOENT;
	return payload ? copy_payload(s, j, result, ret) : 0;
}

void weir_job_info_free(weir_job_info *i)
{
	free(i->data);
	free(i->result);
	i->data = i->result = NULL;
}

/* ---- Many ---- */

void weir__cursors_pass(struct weir__queue *q, struct weir__list *leaving)
{
	weir__list_each (n, &q->cursors) {
		struct weir__cursor *c = weir__container(n, struct weir__cursor, link);

		if (c->at == leaving)
			c->at = leaving->next;
	}
}

/* A bounded number of records from the cursor on: those behind `last` that are in the state. */
static size_t list_some(struct weir__queue *q, struct weir__cursor *c, const char *last, int state,
                        weir_job_info *ret, size_t max)
{
	enum { LOOK = 1024 };
	size_t n = 0;

	for (int i = 0; i < LOOK && c->at != &q->all && n < max; i++, c->at = c->at->next) {
		const struct weir__record *j = weir__container(c->at, struct weir__record, all);

		if (memcmp(j->id, last, WEIR__ID) > 0 && (state < 0 || j->state == state))
			weir__job_snapshot(j, &ret[n++]);
	}
	return n;
}

int weir_job_list(weir_store *s, const char *queue, int state, const char *after,
                  weir_job_info *ret, size_t max)
{
	struct weir__cursor c = { .at = NULL };
	char last[WEIR__ID + 1] = "";
	struct weir__record *j;
	struct weir__queue *q;
	size_t n = 0;
	bool more;

	weir__magic_check(s, weir__store_magic);
	if (s->far)
		return -EOPNOTSUPP;
	if (after)
		memcpy(last, after, strnlen(after, WEIR__ID));
	weir__store_enter(s);
	q = weir__queue_find(s, queue);
	if (!q) {
		weir__store_leave(s);
		return 0;
	}
	/* An id that is not known here has left: then from the start to what is behind it. */
	j = weir__job_find(s, last);
	c.at = j && j->queue == q ? j->all.next : q->all.next;
	weir__list_append(&q->cursors, &c.link);
	do {
		n += list_some(q, &c, last, state, ret + n, max - n);
		more = n < max && c.at != &q->all;
		if (more) {
			weir__store_leave(s); /* Others have their turn. */
			weir__store_enter(s);
		}
	} while (more);
	weir__list_remove(&c.link);
	weir__queue_idle(s, q);
	weir__store_leave(s);
	return (int)n;
}
