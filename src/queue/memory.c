/* SPDX-License-Identifier: MIT */
/* The engine "mem:": jobs live in memory; a clean close writes them to the spool, if one was named,
 * and the next open reads it. */
#include <errno.h>
#include <weir/offload.h>

#include "queue/inner.h"

struct move {
	weir_store *store;
	bool stop;
	size_t jobs;
};

static int read_spool(void *arg)
{
	struct move *m = arg;
	int r = weir__spool_read(m->store, m->store->spool, &m->stop);

	return r < 0 ? r : weir__spool_remove(m->store->spool);
}

static int write_spool(void *arg)
{
	struct move *m = arg;

	return weir__spool_write(m->store, m->store->spool, &m->stop, &m->jobs);
}

static void interrupt(void *arg)
{
	__atomic_store_n(&((struct move *)arg)->stop, true, __ATOMIC_RELAXED);
}

static int load(const weir_ctx *ctx, weir_store *s, const char *where)
{
	struct move m = { .store = s };

	if (*where)
		return -EINVAL;
	return s->spool ? weir_offload_interruptible(ctx, read_spool, &m, interrupt) : 0;
}

static int save(const weir_ctx *ctx, weir_store *s, size_t *ret_jobs)
{
	/* A cancelled program still has to keep what it accepted; a hard stop cuts this as
	 * everything. */
	weir_ctx shield = weir_ctx_shield(ctx, WEIR_HOUR(1));
	struct move m = { .store = s };
	int r;

	if (!s->spool)
		return 0;
	r = weir_offload_interruptible(&shield, write_spool, &m, interrupt);
	*ret_jobs = r < 0 ? 0 : m.jobs;
	return r;
}

const struct weir__engine weir__engine_memory = {
	.scheme = "mem",
	.durability = WEIR_MEMORY,
	.load = load,
	.save = save,
};
