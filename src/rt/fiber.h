/* SPDX-License-Identifier: MIT */
/*
 * A fiber is a stack that can be switched to. Six registers are saved (the callee-saved ones; on
 * aarch64 with d8–d15), not MXCSR and the x87 word: a task must not change the floating-point
 * mode across a wait. The sanitizers are told of every switch.
 */
#ifndef WEIR_RT_FIBER_H
#define WEIR_RT_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR__ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEIR__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEIR__TSAN 1
#endif
#endif

struct weir__fiber {
	void *sp;
#ifdef WEIR__ASAN
	const void *bottom;
	size_t size;
	void *fake;
#endif
#ifdef WEIR__TSAN
	void *tsan;
	bool tsan_own;
#endif
};

/* In assembly. Saves the callee-saved registers on the stack and its pointer in *save, then goes
 * on where `load` was saved. */
void weir__switch(void **save, void *load);

/* The stack of the calling thread. */
void weir__fiber_init_thread(struct weir__fiber *f);

/* A new one on [bottom, top): the first switch to it calls entry(arg), which must not return. */
void weir__fiber_init(struct weir__fiber *f, void *bottom, void *top, void (*entry)(void *),
                      void *arg);

void weir__fiber_fini(struct weir__fiber *f);

/* `last`: `from` will never be switched to again. */
void weir__fiber_switch(struct weir__fiber *from, struct weir__fiber *to, bool last);

/* The first words of a fiber, before its entry runs anything else. */
void weir__fiber_arrived(struct weir__fiber *self);

#endif
