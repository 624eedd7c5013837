/* SPDX-License-Identifier: MIT */
/* Stack overflow is reported with the task's name and place instead of a bare SIGSEGV. */
#ifndef WEIR_RT_FAULT_H
#define WEIR_RT_FAULT_H

struct weir__fault_stack {
	void *mem;
};

/* For each worker thread: an alternate signal stack; the first also installs the handler. */
void weir__fault_enter(struct weir__fault_stack *f);
void weir__fault_leave(struct weir__fault_stack *f);

#endif
