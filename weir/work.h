/* SPDX-License-Identifier: MIT */
/*
 * What the two ways of `weir work` to its server share. A slot is a task with a connection of its
 * own, on which it takes one job after the other.
 */
#ifndef WEIR_PROGRAM_WORK_H
#define WEIR_PROGRAM_WORK_H

#include "client.h"

#define WORK_ASK_EVERY WEIR_SEC(1)
#define WORK_TELL_NS   WEIR_SEC(5)

struct taken {
	char id[64], lease[128];
	unsigned attempt;
	int64_t timeout_ns;
	struct weir__buf payload;
};

enum verdict { KEEP, CANCEL, LOST };

struct crew {
	const struct options *o;
	struct client *c; /* to be copied by each slot */
	const struct work_way *way;
	char target[256]; /* of the take, over HTTP */
	char name[64];
	bool ever;   /* a slot has reached the server; all on one worker thread, as all of this */
	bool away;   /* it was said that the server gives nothing */
	bool failed; /* --once: the job was not acknowledged */
	int fatal;   /* an exit status that ends all slots */
	unsigned running;
	weir_hook stop; /* hears that weir work is to end */
	weir_group *slots;
};

struct slot {
	struct crew *crew;
	struct client c;
	struct weir_grpc *call; /* over gRPC: the stream of jobs; NULL between two */
};

/* Answers about a job: 0; -ESTALE: it is not ours any more; -EMSGSIZE: it is done, its result too
 * large to be kept; another -Exxx: the server could not be told, or did not want to hear it, and
 * that was said. */
struct work_way {
	/* 1 and a job; 0 there was none; < 0 no answer, or a refusal that may pass; for others an
	 * exit status in crew->fatal. */
	int (*take)(const weir_ctx *ctx, struct slot *s, struct taken *j);
	/* Is the job still ours and still wanted? */
	enum verdict (*ask)(const weir_ctx *ctx, struct slot *s, const struct taken *j);
	int (*done)(const weir_ctx *ctx, struct slot *s, const struct taken *j, const void *result,
	            size_t len);
	int (*failed)(const weir_ctx *ctx, struct slot *s, const struct taken *j, bool dead,
	              const char *why);
	int (*give_back)(const weir_ctx *ctx, struct slot *s, const struct taken *j);
	/* A second descriptor for the slot's connection, or -Exxx. */
	int (*dup)(struct slot *s);
	/* The slot ends. */
	void (*end)(const weir_ctx *ctx, struct slot *s);
};

extern const struct work_way work_over_http;
extern const struct work_way work_over_grpc;

void work_say(const struct taken *j, const char *fmt, ...) WEIR_PRINTF(2, 3);
/* "ended, but the server could not be told": the error. */
int work_untold(const struct taken *j, int error);

#endif
