/* SPDX-License-Identifier: MIT */
/* Looking at jobs: copies made under the lock, a list of them a bounded number at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/inner.h"

static int copy_payload(const struct weir__record *j, weir_job_info *ret)
{
	ret->data = malloc(j->len + 1);
	ret->result = j->result ? malloc(j->result_len + 1) : NULL;
	if (!ret->data || (j->result && !ret->result)) {
		weir_job_info_free(ret);
		return -ENOMEM;
	}
	memcpy(ret->data, j->data, j->len + 1);
	if (j->result) {
		memcpy(ret->result, j->result, j->result_len);
		((char *)ret->result)[j->result_len] = 0;
	}
	return 0;
}

int weir_job_get(weir_store *s, const char *id, bool payload, weir_job_info *ret)
{
	struct weir__record *j;
	int r = 0;

	weir__magic_check(s, weir__store_magic);
	weir__store_enter(s);
	j = weir__job_find(s, id);
	if (j) {
		weir__job_snapshot(j, ret);
		if (payload)
			r = copy_payload(j, ret);
	}
	weir__store_leave(s);
	return j ? r : -ENOENT;
}

void weir_job_info_free(weir_job_info *i)
{
	free(i->data);
	free(i->result);
	i->data = i->result = NULL;
}

int weir_job_list(weir_store *s, const char *queue, int state, const char *after,
                  weir_job_info *ret, size_t max)
{
	enum { LOOK = 1024 }; /* records under one hold of the lock */
	char last[WEIR__ID + 1] = "";
	size_t n = 0;
	bool more = true;

	weir__magic_check(s, weir__store_magic);
	if (after)
		memcpy(last, after, strnlen(after, WEIR__ID));
	while (more && n < max) {
		struct weir__queue *q;
		struct weir__record *j;
		struct weir__list *at;

		weir__store_enter(s);
		q = weir__queue_find(s, queue);
		j = weir__job_find(s, last);
		at = !q ? NULL : j && j->queue == q ? j->all.next : q->all.next;
		for (int i = 0; i < LOOK && q && at != &q->all && n < max; at = at->next) {
			j = weir__container(at, struct weir__record, all);
			if (memcmp(j->id, last, WEIR__ID) <= 0)
				/* The one to go on from has left: look for those behind its id. */
				continue;
			i++;
			memcpy(last, j->id, sizeof last);
			if (state < 0 || j->state == state)
				weir__job_snapshot(j, &ret[n++]);
		}
		more = q && at != &q->all;
		weir__store_leave(s);
	}
	return (int)n;
}
