/* SPDX-License-Identifier: MIT */
/*
 * Groups own tasks and join them; there is no task without one. Because no task outlives its group,
 * pointers to the joining task's stack are safe arguments.
 *
 *	weir_group g;
 *	weir_group_init(&g, ctx);
 *	r = weir_group_go(&g, worker, &arg);
 *	r = weir_group_wait(&g);
 *
 * A group is a scope below the context it was made with: it can be drained and cancelled, and hears
 * both from above. A task that ends while a group it made is not joined aborts.
 */
#ifndef WEIR_GROUP_H
#define WEIR_GROUP_H

#include <weir/task.h>

WEIR_BEGIN

typedef struct weir_group {
	weir_ctx ctx; /* what its tasks get: borrow it freely */
	void *priv[9];
} weir_group;

/* Never fails; without memory for its scope every weir_group_go() returns -ENOMEM. */
WEIR_API void weir_group_init(weir_group *g, const weir_ctx *ctx);

/* From now on the first task that fails cancels the others. */
WEIR_API void weir_group_cancel_on_error(weir_group *g);

/*
 * Start a task. 0; -ENOMEM (names vm.max_map_count in the log when mappings ran out); -ECANCELED
 * after cancel. An accepted task always runs, even if cancelled meanwhile, so that it can free its
 * argument. From the maker, from tasks of the group, and from any thread that holds it
 * (weir_group_hold). The worker is the least busy one's choice; weir_group_go_on() pins it from the
 * start.
 */
#define weir_group_go(g, fn, arg)       weir_group_go_((g), -1, (fn), (arg), #fn, WEIR_HERE)
#define weir_group_go_on(g, w, fn, arg) weir_group_go_((g), (w), (fn), (arg), #fn, WEIR_HERE)
WEIR_API int weir_group_go_(weir_group *g, int worker, weir_task_fn *fn, void *arg,
                            const char *name, const char *place);

/* Join all tasks; consumes the group. The first error a task returned, or 0 (stop codes that follow
 * the group's own drain or cancel are no errors). Only its context decides when what is joined gets
 * cancelled. From the maker. From a task of the group itself: -EDEADLK. */
WEIR_API int weir_group_wait(weir_group *g);

/* Cancel or drain all its tasks; any task or holding thread. weir_group_wait() still has to
 * follow. */
WEIR_API void weir_group_cancel(weir_group *g);
WEIR_API void weir_group_drain(weir_group *g);

/* Tasks (and holds) alive. */
WEIR_API size_t weir_group_count(const weir_group *g);

/* Keep the group open for posting from elsewhere; counted as a task by weir_group_wait(). Release
 * from any thread. */
WEIR_API int weir_group_hold(weir_group *g);
WEIR_API void weir_group_release(weir_group *g);

WEIR_END
#endif
