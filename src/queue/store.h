/* SPDX-License-Identifier: MIT */
/*
 * What a storage engine is to the queues: where jobs come from when a store opens, where they stay
 * when it closes, and, for a durable one, where changes go meanwhile. Order, leases, retries and
 * bounds live in memory above it, in the same way for every engine.
 *
 * A durable engine sets the store's `journal.on` once it has loaded, and has a writer that takes
 * changes from there (queue/journal.h).
 */
#ifndef WEIR_QUEUE_STORE_H
#define WEIR_QUEUE_STORE_H

#include <weir/queue.h>

struct weir__engine {
	const char *scheme;              /* "mem": what an URL begins with */
	enum weir_durability durability; /* the best that a queue can ask for */

	/* Bring back what the last close kept; `where` is the URL behind the scheme. The store is
	 * not shared yet. Waits. */
	int (*load)(const weir_ctx *ctx, weir_store *s, const char *where);

	/* The store is closed: nothing changes any more. Keep what the queues hold; *ret_jobs how
	 * many jobs that was. Waits. */
	int (*save)(const weir_ctx *ctx, weir_store *s, size_t *ret_jobs);

	/* There is something to write. Any thread, outside the store's lock. Only for a durable
	 * engine. */
	void (*wake)(weir_store *s);
};

extern const struct weir__engine weir__engine_memory;
extern const struct weir__engine weir__engine_sqlite; /* if it was built */
extern const struct weir__engine
	weir__engine_remote; /* for what queue/remote.h names; is given the whole URL */

#endif
