/* SPDX-License-Identifier: MIT */
/* Lock: `lock` guards the list, and is taken alone. */
#include "rt/leak.h"

#include <stdio.h>

#include "base/log.h"
#include "rt/lock.h"
#include "rt/task.h"

enum { TOLD_MAX = 20 };

static weir__lock lock;
static struct weir__list made = { &made, &made };

void weir__leak_track(struct weir__leak *l, const char *what, const char *place)
{
	const weir__task *t = weir__current();

	l->link.next = NULL;
	if (!t || weir__simulating)
		return;
	l->what = what;
	l->place = place;
	snprintf(l->task, sizeof l->task, "%s", weir__task_name(t));
	weir__lock_acquire(&lock);
	weir__list_append(&made, &l->link);
	weir__lock_release(&lock);
}

void weir__leak_forget(struct weir__leak *l)
{
	if (!weir__list_linked(&l->link))
		return;
	weir__lock_acquire(&lock);
	weir__list_remove(&l->link);
	weir__lock_release(&lock);
}

void weir__leak_report(void)
{
	struct weir__list *node;
	int n = 0;

	weir__lock_acquire(&lock);
	while ((node = weir__list_pop(&made))) {
		struct weir__leak *l = weir__container(node, struct weir__leak, link);

		if (++n <= TOLD_MAX)
			weir__log(WEIR__WARN, "rt", "%s made at %s by task %s was not freed",
			          l->what, l->place, l->task);
	}
	weir__lock_release(&lock);
	if (n > TOLD_MAX)
		weir__log(WEIR__WARN, "rt", "%d more were not freed", n - TOLD_MAX);
}
